"""Calls of JRC's own client: a program for its environment, which knows nothing of hpckit.

Arguments: a JSON file with address, login and what to ask for, and the file for the answers: a JSON object with what
each call gave, or its error.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import matplotlib

matplotlib.use("Agg")


def main(asked):
    from cbm.utils import config

    for key in ("url", "user"):
        config.set_value(["api", key], asked[key])
    config.set_value(["api", "pass"], asked["password"])
    import matplotlib.pyplot as plt

    plt.show = lambda *_, **__: None  # there is no screen
    import cbm.get as get
    import cbm.show as show
    from cbm.datas import api

    aoi, year, pid = asked["aoi"], asked["year"], asked["pid"]
    lon, lat, start, end = asked["lon"], asked["lat"], asked["start"], asked["end"]
    figures = {"view": False}
    calls = {
        "options": lambda: json.loads(api.get_options()),
        "info by location": lambda: get.parcel_info.by_location(aoi, year, lon, lat),
        "info by pid": lambda: get.parcel_info.by_pid(aoi, year, pid),
        "info missing": lambda: get.parcel_info.by_pid(aoi, year, "no-such-parcel"),
        "info by polygon": lambda: json.loads(get.parcel_info.by_polygon(aoi, year, asked["polygon"])),
        "peers": lambda: get.parcels_list.peers(aoi, year, pid, 2000.0, 5),
        "series s2": lambda: get.time_series.by_pid(aoi, year, pid, "s2"),
        "series bs": lambda: get.time_series.by_pid(aoi, year, pid, "bs"),
        "series band": lambda: get.time_series.by_pid(aoi, year, pid, "s2", None, "B08"),
        "weather": lambda: get.time_series.weather(aoi, year, pid),
        "chips by pid": lambda: get.chip_images.by_pid(aoi, year, pid, start, end, "B04", 640),
        "chips by location": lambda: get.chip_images.by_location(lon, lat, start, end, "B08", 640),
        "background by pid": lambda: get.background.by_pid(aoi, year, pid, 128, 512, "Google"),
        "background by location": lambda: get.background.by_location(aoi, year, lon, lat, 128, 512, "OSM"),
        "show info": lambda: show.parcel_info.by_pid(aoi, year, pid, **figures),
        "show ndvi": lambda: show.time_series.ndvi(aoi, year, pid, **figures),
        "show ndvi peers": lambda: show.time_series.ndvi(aoi, year, [pid, *asked["peers"]], **figures),
        "show s2": lambda: show.time_series.s2(aoi, year, pid, **figures),
        "show s1": lambda: show.time_series.s1(aoi, year, pid, **figures),
        "show chips ndvi": lambda: show.chip_images.by_pid(aoi, year, pid, start, end, "ndvi", 640, 4, **figures),
        "show chips colour": lambda: show.chip_images.by_pid(
            aoi, year, pid, start, end, ["B04", "B03", "B02"], 640, **figures
        ),
        "show chips band": lambda: show.chip_images.by_pid(aoi, year, pid, start, end, "B11", 640, **figures),
        "show chips grid": lambda: show.chip_images.grid(aoi, year, pid, start, end, "B04", 640),
        "show chips by location": lambda: show.chip_images.by_location(
            lon, lat, start, end, ["B04", "B08"], 640, **figures
        ),
        "show background by pid": lambda: show.background.by_pid(aoi, year, pid, 128, 512, ["google"], **figures),
        "show background by location": lambda: show.background.by_location(
            aoi, year, lon, lat, 128, 512, ["google", "bing"], **figures
        ),
        "page of chips": lambda: api.cbl(lon, lat, start, end, ["B08", "B04", "B03"], "5_95", 640).text[:40],
    }
    found = {}
    for name, call in calls.items():
        try:
            result = call()
            if type(result).__name__ == "Figure":
                result = f"figure of {len(result.axes)} axes"
            json.dumps(result)
            found[name] = {"gave": result}
        except Exception:
            found[name] = {"error": traceback.format_exc()[-1500:]}
    files = [path for path in Path("temp").rglob("*") if path.is_file() and path.suffix == ".tif"]
    found["files"] = {"gave": sorted(str(path) for path in files)}
    return found


if __name__ == "__main__":
    answer = main(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(answer))
