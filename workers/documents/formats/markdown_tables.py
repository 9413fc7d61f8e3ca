"""Markdown's tables by their lines alone: to make their cells takes far longer, and no one reads them."""

from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import table

_HEAD_LINES = 2


def table_without_cells(state: StateBlock, first: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - a rule's face
    """Take the lines of a table as markdown-it's own rule does, which adds up to 65,536 cells that nobody wrote."""
    if not table(state, first, end, True):
        return False
    if silent:
        return True
    opening = state.push("table_open", "table", 1)
    opening.map = [first, _end(state, first + _HEAD_LINES, end)]
    state.push("table_close", "table", -1)
    state.line = opening.map[1]
    return True


def _end(state: StateBlock, line: int, end: int) -> int:
    """Return the first line that is no row: an empty one, one that is indented as code, or another block's."""
    above = state.parentType
    state.parentType = "table"
    interrupting = state.md.block.ruler.getRules("blockquote")
    while (
        line < end
        and state.sCount[line] >= state.blkIndent
        and not any(rule(state, line, end, True) for rule in interrupting)
        and not state.isEmpty(line)
        and not state.is_code_block(line)
    ):
        line += 1
    state.parentType = above
    return line
