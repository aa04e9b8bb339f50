"""Shows that the image needs no compiler for its libraries, and how large they are on Alpine.

``make image-wheels``, or this from the root of the sources. pip says what the gateway, and the
compiling of it, depend on, and downloads a wheel of each for musl, of both architectures. It fails
where there is none. Nothing of this runs the wheels; Debian has what takes the symbols out of those
for another machine in ``binutils-x86-64-linux-gnu`` and ``binutils-aarch64-linux-gnu``.
"""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from slim import size_of, slim

PYTHON = "3.12"
"""The Python of the Alpine that the Dockerfile names."""

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""What containers and wheels call them."""

FROM_SOURCE = {"zope.interface"}
"""What has no wheel for musl: the first stage compiles it, and it works without its C, too."""

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def name_of(requirement: str) -> str:
    """The name in ``name==version``, as every spelling of it compares."""
    return re.sub(r"[-_.]+", "-", requirement.partition("==")[0]).lower()


def needed(what: str) -> list[str]:
    """Everything that ``what`` depends on and is not ours, as ``name==version``."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report")
        options = ("--dry-run", "--ignore-installed", "--report", str(report))
        subprocess.run([*PIP, "install", *options, what], check=True, stdout=subprocess.DEVNULL)
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = [f"{each['metadata']['name']}=={each['metadata']['version']}" for each in installed]
    return sorted((each for each in found if name_of(each) != "portal-gateway"), key=str.lower)


def download(requirements: list[str], machine: str, place: Path) -> list[Path]:
    """The wheels of ``requirements`` for musl on ``machine``. pip says which there are not."""
    options = (
        *("--no-deps", "--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", PYTHON, "--platform", f"musllinux_1_2_{machine}"),
    )
    subprocess.run([*PIP, "download", *options, "--dest", str(place), *requirements], check=True)
    return sorted(place.iterdir())


def main() -> None:
    """Print what there is, for each architecture."""
    running, compiling = needed("."), needed(".[compile]")
    for container, machine in ARCHITECTURES.items():
        with tempfile.TemporaryDirectory() as place:
            wheels, site = Path(place, "wheels"), Path(place, "site-packages")
            for directory in (wheels, site):
                directory.mkdir()
            there = [each for each in compiling if name_of(each) not in map(name_of, FROM_SOURCE)]
            found = download(there, machine, wheels)
            native = [wheel.name for wheel in found if not wheel.stem.endswith("-none-any")]
            wanted = {name_of(each) for each in running}
            for wheel in found:
                if name_of(wheel.name.partition("-")[0]) in wanted:
                    zipfile.ZipFile(wheel).extractall(site)
            whole = size_of(site)
            slim(site, f"{machine}-linux-gnu-strip")
            print(f"{container}: {len(found)} wheels of {len(compiling)} packages, for musl:")
            print("\n".join(f"  {name}" for name in native))
            print(f"  and {len(found) - len(native)} of pure Python; from source: ", end="")
            print(", ".join(sorted(FROM_SOURCE)))
            print(f"  to run: {len(wanted)} packages, {whole:,} bytes, {size_of(site):,} when slim")


if __name__ == "__main__":
    main()
