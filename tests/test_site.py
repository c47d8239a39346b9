"""Claims about the site that is made of the documents; skipped where the extra `docs` is not."""

import functools
import http.server
import subprocess
import sys
import threading
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.demo import chromium

ROOT = Path(__file__).parents[1]
HOME = "http://127.0.0.1"

for package in ("zensical", "mkdocstrings_handlers.python"):
    pytest.importorskip(package)


class Page(HTMLParser):
    """The links and the anchors of one."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.anchors = set(), {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src"):
                self.links.add(value or "")
            elif name == "id":
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "tools/site.py"), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    said = built.stdout + built.stderr
    assert built.returncode == 0 and "warning" not in said.lower(), said
    return folder / "site"


def test_every_document_has_its_place_in_the_menu():
    menu = tomllib.loads((ROOT / "docs/site.toml").read_text())["project"]["nav"]
    places = {
        page
        for entry in menu
        for one in entry.values()
        for page in ([one] if isinstance(one, str) else [p for e in one for p in e.values()])
    }
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.ipynb")]
    assert places == {str(page.relative_to(ROOT).with_suffix(".md")) for page in pages}


def test_links_and_anchors_within_the_site_lead_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("index.html")}
    followed = 0
    for path, page in pages.items():
        here = f"{HOME}/{path.relative_to(site)}"
        for link in page.links:
            to = urlsplit(urljoin(here, link))
            if to.netloc != urlsplit(HOME).netloc:
                continue
            target = site / unquote(to.path).lstrip("/")
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{here}: {link}"
            assert target not in pages or unquote(to.fragment) in pages[target].anchors, link
            followed += 1
    assert followed > 1000


def test_the_reference_tells_shapes_and_units_of_fields(site):
    reference = (site / "docs/api/index.html").read_text()
    assert 'id="solojax.inference.predictor.Predictor.from_run"' in reference
    assert "B K float32, 0 on padding." in reference  # types.Detections, behind the field
    assert "Large-scale jitter in place of train_short_sides" in reference  # above the field


@pytest.mark.slow
@pytest.mark.skipif(
    not (chromium.CHROMIUM and chromium.DRIVER), reason="no chromium and chromedriver here"
)
def test_pages_open_without_complaint_and_load_nothing_from_elsewhere(site, tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *line):
            pass

    serve = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"{HOME}:{server.server_port}/"
        with chromium.opened(home, tmp_path) as browser:
            for page in ("docs/gallery/", "docs/api/"):
                browser.call("url", url=home + page)
                browser.wait("[...document.images].every(image => image.naturalWidth)")
                for width in (1280, 390):
                    browser.look_like(width, 900)
                    assert browser.run("return document.documentElement.scrollWidth") <= width
                names = browser.run("return performance.getEntries().map(one => one.name)")
                assert not [n for n in names if n.startswith("http") and home not in n]
            assert browser.complaints() == []
        server.shutdown()
