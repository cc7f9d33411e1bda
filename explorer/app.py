"""The explorer's entry script: header, run picker, pages. Start it with `python -m explorer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import streamlit as st

from explorer import components
from explorer.app_pages import compare, explore, item, learn, notes, suspects, trust, try_it
from explorer.app_pages.page import Page
from explorer.jobs import live
from explorer.panels.header import computing, failure, identity, start
from explorer.runs import cache, folder
from explorer.ui import escape, pictures, state
from explorer.view import switching
from influence.errors import UpstreamError
from influence.run import Run

LOGO = Path(__file__).parent / "logo.svg"


# Address -> title and page. (No string stands below it: Streamlit would write that on the page.)
PAGES: dict[str, tuple[str, Page]] = {
    state.EXPLORE_PAGE: ("Explore", explore),
    state.ITEM_PAGE: ("Item", item),
    state.SUSPECTS_PAGE: ("Suspects", suspects),
    state.COMPARE_PAGE: ("Compare", compare),
    state.TRUST_PAGE: ("Trust", trust),
    "try-it": ("Try it", try_it),
    state.LEARN_PAGE: ("Learn", learn),
    state.NOTES_PAGE: ("Notes", notes),
}


def script(page: Page) -> Callable[[], None]:
    """The script of a page: the header, then the page or a callout that says what is in its way."""

    def draw() -> None:
        run = header()
        notices = st.container()
        if run is not None:
            try:
                refuse_bad_links(page.allowed(run))
                page.draw(run)
            except UpstreamError as error:
                st.error(escape.message(error), icon=":material/error:")
            except Exception as error:
                failure.draw(run, error)
        texts = state.take_notices()
        if texts:
            notices.warning(
                "\n".join(f"- {text}" for text in texts) if len(texts) > 1 else texts[0], icon=":material/info:"
            )

    return draw


def header() -> Run | None:
    """Name, run picker, identity line, copy link; returns the verified run, or None after saying what is wrong."""
    root = state.runs_folder()
    good, bad = folder.names(root)
    start.gone(root, good, bad)
    if not good:
        st.html(brand())
        start.draw(root, bad)
        return None
    wanted = st.query_params.get(state.RUN) if state.RUN not in st.session_state else None
    if wanted is not None and wanted not in good:
        start.missing(root, wanted, bad)
    run, problem = None, ""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="header"):
        st.html(brand(), width="content")
        name = st.selectbox(
            "Run",
            good,
            index=good.index(usual) if (usual := state.usual_run()) in good else 0,
            key=state.RUN,
            bind="query-params",
            label_visibility="collapsed",
            width=230,
            on_change=switching.follow,
        )
        try:
            run = folder.open_run(root / name)
            if state.changed(f"run {name}", cache.computed(run)):
                state.notice(
                    f"Run {escape.for_markdown(name)} was written anew on the disk; shown is what it holds now."
                )
            st.html(f'<div class="up-identity">{escape.for_html(identity.line(run))}</div>')
            identity.draw(run)
        except UpstreamError as error:
            problem = escape.message(error)
        components.copy_link(key="copy_link", width="content", data={"run": name})
        if components.connection(key="connection", on_back_change=state.nothing).back and state.first_sight():
            state.notice("The explorer was started again; this is the view that its address names.")
        components.travel(key="travel", data={"run": name, "keys": state.TRAVELLING})
        components.appearance(
            key="appearance", width="content", data={"pages": list(PAGES)}, on_turned_change=state.nothing
        )
    if problem:
        st.error(problem, icon=":material/error:")
    computing.draw(root, run, bad)
    return run


def brand() -> str:
    """Logo and name as HTML."""
    return f'<div class="up-brand"><img src="{pictures.svg_url(LOGO)}" alt="">Upstream</div>'


def refuse_bad_links(choices: Mapping[str, Sequence[str]]) -> None:
    """Say which values of the URL no widget can take, before the widgets fall back to their defaults."""
    for key, value, allowed in state.refused(st.query_params.to_dict(), choices):
        if not allowed:
            # Left over from another run; here nobody would miss it.
            state.click(key, None)
            continue
        state.notice(
            f"The link asks for {key} “{escape.for_markdown(value)}”, which is not one of "
            f"{', '.join(map(escape.for_markdown, allowed))}. The usual value is shown."
        )


# A picture of our own: a named icon would be fetched from the internet.
st.set_page_config(page_title="Upstream", page_icon=str(LOGO), layout="wide", initial_sidebar_state="collapsed")
st.html(Path(__file__).parent / "page.css")
pages = {
    address: st.Page(script(page), title=title, url_path=address, default=page is explore)
    for address, (title, page) in PAGES.items()
}
current = st.navigation(list(pages.values()), position="top")
state.take_along(current.url_path)
current.run()
state.keep()
if st.context.headers.get("User-Agent"):  # a browser's; the launcher's first look loads nothing more
    live.load_ahead()
