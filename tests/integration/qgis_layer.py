"""Run by the Python that has QGIS: open a layer, print what QGIS makes of it as JSON, and draw it.

python3 qgis_layer.py PROVIDER SOURCE PICTURE
"""

import json
import os
import sys

from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsVectorLayer
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def describe(layer):
    renderer = layer.renderer()
    found = {
        "valid": layer.isValid(),
        "features": layer.featureCount(),
        "renderer": renderer.type(),
        "labels": layer.labelsEnabled(),
        "classes": [],
        "attribute": None,
    }
    if renderer.type() == "graduatedSymbol":
        found["attribute"] = renderer.classAttribute()
        found["classes"] = [[r.lowerValue(), r.upperValue(), r.symbol().color().name()] for r in renderer.ranges()]
    elif renderer.type() == "categorizedSymbol":
        found["attribute"] = renderer.classAttribute()
        found["classes"] = [[c.value(), c.symbol().color().name()] for c in renderer.categories()]
    found["styles"] = sorted(layer.listStylesInDatabase()[2][: layer.listStylesInDatabase()[0]])
    return found


def draw(layer, path):
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(400, 400))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert job.renderedImage().save(path)


provider, source, picture = sys.argv[1:]
application = QgsApplication([], False)
application.initQgis()
opened = QgsVectorLayer(source, "layer", provider)
print(json.dumps(describe(opened)))
draw(opened, picture)
sys.stdout.flush()
os._exit(0)  # QGIS of Debian 12 crashes while it ends
