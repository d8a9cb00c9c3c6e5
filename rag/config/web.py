"""The settings of web pages."""

from __future__ import annotations

from pydantic import Field

from rag.config.section import CountOrZero, Positive, PositiveInt, PositiveOrZero, Section


class WebSettings(Section):
    """How `rag ingest https://…` fetches web pages. Pages and seconds count for each address that is named."""

    max_pages: PositiveInt = Field(default=500, description="Most addresses looked at, pages of a sitemap among them.")
    max_page_mib: Positive = Field(default=20.0, description="Largest page in MiB, unpacked. Larger ones are left out.")
    max_seconds: Positive = Field(
        default=900.0, description="Longest time for a site. What was not looked at by then stays as it is."
    )
    max_seconds_per_page: Positive = Field(default=30.0, description="Longest time to fetch one page.")
    seconds_between_requests: PositiveOrZero = Field(
        default=0.5, description="Pause between two requests. The site's crawl-delay may make it longer, up to 30 s."
    )
    max_redirects: CountOrZero = Field(default=5, description="Most redirects on the way to one page.")
    allow_private: bool = Field(
        default=False,
        description="true also fetches from this machine and from private networks. Without it, a page on the web "
        "cannot lead there.",
    )
    watch_minutes: Positive = Field(
        default=60.0, description="`rag ingest --watch` looks at web pages again after this many minutes."
    )
