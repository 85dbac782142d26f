"""`hpckit --host SITE …`: run a command where the cluster is, with the campaign's files brought there.

The campaign file and the small files that it names (area, zones, site files, templates) are copied to a folder
of the campaign on the site. Products, cube, run directory and results are there and stay there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from hpckit.campaign.words import words_in
from hpckit.errors import CampaignError, LoginError
from hpckit.sites.login.copying import pull, push
from hpckit.space.areafile import AreaFile

if TYPE_CHECKING:
    from hpckit.campaign.campaign import Campaign
    from hpckit.sites.login.ssh import Session

_OUTPUT: Final = ("-o", "--output")
_FIND: Final = 'p=$1; case $p in "~/"*) p=$HOME/${p#"~/"} ;; esac; command -v "$p"'
_SIDECARS: Final = (".shx", ".dbf", ".prj", ".cpg")


def run_there(site_name: str, arguments: Sequence[str]) -> int:
    """Run hpckit's command line on the login node of a site; give its exit code.

    Parameters
    ----------
    arguments : sequence of str
        As typed, without `--host SITE`. A campaign file among them is staged; a file given to `-o` is fetched.

    Raises
    ------
    LoginError
        If the site cannot be reached.
    CampaignError
        If the campaign names files by ways that lead out of its folder.
    """
    from hpckit.sites.login.ssh import session_for
    from hpckit.sites.site import find_site

    found = next((Path(word) for word in arguments if _is_campaign(word)), None)
    site = find_site(site_name, [found.parent if found is not None else Path.cwd()])
    if site.login is None:
        raise LoginError(f"site {site.name} says nothing of logins", hint=f"add `login: {{host: …}}` to {site.path}")
    session = session_for(site)
    program = find_program(session)
    if found is None:
        return session.stream([program, *arguments])
    folder = _stage(session, found, site.login.folder)
    words, output = _translate(arguments, found)
    code = session.stream(["sh", "-c", 'cd "$1" && shift && exec "$@"', "hpckit", folder, program, *words])
    if output is not None and code == 0:
        pull(session, str(PurePosixPath(folder) / output.name), output.parent.absolute())
    return code


def find_program(session: Session) -> str:
    """Path of hpckit on the login node.

    Raises
    ------
    LoginError
        If there is none.
    """
    site = session.site
    assert site.login is not None
    named = site.login.command or (site.command if site.runtime != "apptainer" else None) or "hpckit"
    done = session.run(["sh", "-c", _FIND, "sh", named], profile=True)
    found = done.stdout.strip()
    if done.returncode == 0 and found:
        return found
    where = "on the PATH of a login shell" if named == "hpckit" else f"at {named}"
    raise LoginError(
        f"there is no hpckit {where} at {site.name}",
        hint=f"install it there, and write its path into {site.path}: `login: {{command: ~/venv/bin/hpckit, …}}`",
    )


def _is_campaign(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) and not word.startswith("-") and Path(word).is_file()


def _stage(session: Session, path: Path, base: str) -> str:
    """Copy the campaign to the site; return its folder there."""
    from hpckit.campaign.campaign import load_campaign

    campaign = load_campaign(path)
    folder = str(PurePosixPath(base) / campaign.name)
    by_parent: dict[Path, list[Path]] = {}
    for file in staged_files(campaign):
        by_parent.setdefault(file.parent.relative_to(campaign.folder), []).append(file)
    for parent, files in by_parent.items():
        push(session, files, str(PurePosixPath(folder) / parent))
    return folder


def staged_files(campaign: Campaign) -> list[Path]:
    """Files that lie in the campaign's folder: itself, area, zones, inputs of steps, site files and templates."""
    named = [(reduction.zones, f"zones of {reduction.name}") for reduction in campaign.signatures]
    written = campaign.aoi.path if isinstance(campaign.aoi, AreaFile) else campaign.aoi
    if isinstance(written, str) and (campaign.folder / written).is_file():
        named.append((Path(written), "aoi"))
    for step in campaign.steps:
        texts = {name: text for name, text in step.inputs.items() if not words_in(text)}
        here = {name: Path(text) for name, text in texts.items() if (campaign.folder / text).exists()}
        named += [(path, f"input {name} of step {step.name}") for name, path in here.items()]
    files = [campaign.path, *sorted(campaign.folder.glob("*.yaml"))]
    for path, what in named:
        if path.is_absolute() or str(path).startswith("~"):
            continue  # a path of the site
        whole = (campaign.folder / path).resolve()
        if not whole.is_relative_to(campaign.folder.resolve()):
            raise CampaignError(
                f"{campaign.path}: {what}: {path} lies outside of the campaign's folder, and cannot be staged",
                hint="move the file into the folder, or write the absolute path that it has at the site",
            )
        files.append(campaign.folder / path)
        files += [near for suffix in _SIDECARS if (near := (campaign.folder / path).with_suffix(suffix)).is_file()]
    templates = campaign.folder / "jobscripts"
    files += [templates] if templates.is_dir() else []
    return list(dict.fromkeys(files))


def _translate(arguments: Sequence[str], campaign: Path) -> tuple[list[str], Path | None]:
    """Arguments as they hold in the campaign's folder at the site, and the file that the command writes."""
    words, output = [], None
    for before, word in zip(("", *arguments), arguments, strict=False):
        if before in _OUTPUT:
            output = Path(word)
            words.append(output.name)
        else:
            words.append(campaign.name if Path(word) == campaign else word)
    return words, output
