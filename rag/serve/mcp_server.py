"""The protocol's server over the tools of the documents, on any transport."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mcp_types as types
from mcp.server import Server
from mcp.shared.exceptions import MCPError

from rag.errors import RagError
from rag.progress import working_for
from rag.serve.library import MAX_ID_CHARACTERS, PASSAGE_SCHEME
from rag.serve.mcp_tools import INSTRUCTIONS, Asked, DocumentTool, checked
from rag.terminal import plain_logger

MAX_AT_ONCE = 8
log = plain_logger(__name__)


class ToolServer:
    """The protocol's server over some tools.

    `asked_of` gives the call that a request's context is of. At most `max_waiting` calls wait at once; others get a
    sentence. None: any number may.
    """

    def __init__(
        self,
        tools: Sequence[DocumentTool],
        asked_of: Callable[[Any], Asked] = lambda context: Asked(),
        *,
        max_waiting: int | None = None,
        reads: Callable[[str, Asked], Mapping[str, Any]] | None = None,
    ):
        self._tools = {tool.name: tool for tool in tools}
        self._asked_of = asked_of
        self._max_waiting, self._waiting = max_waiting, 0
        self._reads = reads
        # Who waits for the generator keeps nobody from searching.
        self._slow, self._quick = ThreadPoolExecutor(MAX_AT_ONCE), ThreadPoolExecutor(MAX_AT_ONCE)
        from rag import __version__

        resources: dict[str, Any] = {}
        if reads is not None:
            resources = {
                "on_list_resources": self._no_resources,
                "on_list_resource_templates": self._templates,
                "on_read_resource": self._read,
            }
        self.protocol: Server = Server(
            "rag",
            version=__version__,
            title="Documents",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
            **resources,
        )

    def close(self) -> None:
        """Take no more calls; those that wait are forgotten."""
        for pool in (self._slow, self._quick):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _list(self, context: Any, params: Any) -> types.ListToolsResult:
        who = self._asked_of(context).who
        return types.ListToolsResult(tools=[tool.declared(who) for tool in self._tools.values()])

    async def _call(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = self._tools.get(params.name)
        if tool is None:
            known = ", ".join(self._tools)
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name[:80]!r}; there are: {known}")
        try:
            given = checked(tool, params.arguments or {})
            record = await self._apart(tool.generates, functools.partial(tool.run, given), self._asked_of(context))
        except RagError as error:
            return failure(str(error))
        except Exception as error:
            log.exception("a call of the tool %s failed", tool.name)
            return failure(f"{tool.name} failed ({type(error).__name__}); the log of the server says where")
        sent = sendable(record)
        text = types.TextContent(type="text", text=json.dumps(sent, ensure_ascii=False))
        return types.CallToolResult(content=[text], structured_content=sent)

    async def _apart(self, generates: bool, work: Callable[[Asked], Any], asked: Asked) -> Any:
        """What `work` gives, in a thread of its own, which ends soon where nobody waits any more."""
        if self._max_waiting is not None and self._waiting >= self._max_waiting:
            raise RagError(f"{self._max_waiting} calls are waiting already; try again in a moment")
        self._waiting += 1
        try:
            pool = self._slow if generates else self._quick
            return await asyncio.get_running_loop().run_in_executor(pool, _for_whom_asked, work, asked)
        finally:
            self._waiting -= 1
            asked.waiting.leave()

    async def _no_resources(self, context: Any, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[])

    async def _templates(self, context: Any, params: Any) -> types.ListResourceTemplatesResult:
        passage = types.ResourceTemplate(
            uri_template=PASSAGE_SCHEME + "{id}",
            name="passage",
            title="A passage in its document",
            description="The text of the document around a passage, by an id that search has given.",
            mime_type="text/plain",
        )
        return types.ListResourceTemplatesResult(resource_templates=[passage])

    async def _read(self, context: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        assert self._reads is not None
        uri = str(params.uri)
        work = functools.partial(self._reads, uri)
        try:
            record = sendable(await self._apart(False, work, self._asked_of(context)))
        except RagError as error:
            raise MCPError(types.INVALID_PARAMS, str(error), {"uri": uri[:MAX_ID_CHARACTERS]}) from error
        text = types.TextResourceContents(uri=uri, mime_type="text/plain", text=record["text"])
        return types.ReadResourceResult(contents=[text])


def failure(sentence: str) -> types.CallToolResult:
    """The result of a call that failed, for the assistant to read."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=sendable(sentence))], is_error=True)


def sendable(value: Any) -> Any:
    """The value with text that UTF-8 can hold: names of files may have bytes that are no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {key: sendable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sendable(item) for item in value]
    return value


def _for_whom_asked(work: Callable[[Asked], Any], asked: Asked) -> Any:
    asked.waiting.check()  # they may have left while the work waited for its turn
    with working_for(asked.waiting):
        return work(asked)
