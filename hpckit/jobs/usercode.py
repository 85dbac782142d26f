"""Jobs that run code of users: outside of the site's image, with the site's settings for such code."""

from __future__ import annotations

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.graph import GraphReduction
from hpckit.processgraph.parse import read_text
from hpckit.processgraph.taken import runs_user_code
from hpckit.sites.site import Site
from hpckit.sites.udf import UDF_SETTINGS


def computes_user_code(campaign: Campaign, stage: str) -> bool:
    """Whether units of a stage run code of users, in an image of its own."""
    if stage != "graph":
        return False
    graphs = (graph for graph in campaign.graphs if isinstance(graph, GraphReduction))
    return any(runs_user_code(read_text(graph.text(campaign.folder), graph.parameters)[0]) for graph in graphs)


def with_user_code(site: Site) -> Site:
    """The site whose jobs know where code of users runs."""
    if site.udf is None:
        return site
    return site.model_copy(
        update={"environment": {**site.environment, UDF_SETTINGS: site.udf.model_dump_json(exclude_defaults=True)}}
    )
