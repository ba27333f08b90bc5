"""Makes the README's table and the schema's settings of the chart: see scripts/chart-docs."""

import json
import sys
import tomllib
from pathlib import Path

import yaml

CHART = Path("helm/tilefleet")
BEGIN, END = "<!-- values: made by scripts/chart-docs -->\n", "<!-- end of values -->\n"
# The chart has values of its own for these sections and settings, and sets them in all pods.
OF_THE_CHART = {"observe", "queue", "plan.wait", "run.devices"}


def rows(node, above, comments):
    """Yields each value that has no values below it: its name, default and comment."""
    for key, value in node.value:
        name = f"{above}.{key.value}" if above else key.value
        comment = comments.get(key.start_mark.line, "")
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield f"**{name}**", None, comment
            yield from rows(value, name, comments)
        else:
            yield name, yaml.safe_load(yaml.serialize(value)), comment


def comments_of(text):
    """Returns the comment of each line: the one behind it, or those above it since the last line without one."""
    comments, above = {}, []
    for number, line in enumerate(text.splitlines()):
        code, _, comment = line.partition("# ") if line.lstrip().startswith("#") else line.partition("  # ")
        if not code.strip():
            above = above + [comment] if comment else []
            continue
        comments[number] = " ".join(above + [comment] if comment else above)
        above = []
    return comments


def table():
    text = (CHART / "values.yaml").read_text()
    lines = ["| value | default | |\n", "|---|---|---|\n"]
    for name, default, comment in rows(yaml.compose(text), "", comments_of(text)):
        comment = comment.replace("|", "\\|")
        shown = "" if name.startswith("**") else f"`{json.dumps(default)}`"
        name = name if name.startswith("**") else f"`{name}`"
        lines.append(f"| {name} | {shown} | {comment} |\n")
    return "".join(lines)


def readme(old):
    before, rest = old.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def kind(default):
    """The types that a setting may have: words such as "auto" stand beside numbers, and one item for a list."""
    if isinstance(default, bool):
        return {"type": "boolean"}
    if isinstance(default, list):
        return {"type": ["array", "string", "number"]}
    return {"type": ["string", "number", "boolean", "array"]}


def sections(settings, above=""):
    properties = {
        key: sections(value, f"{above}{key}.") if isinstance(value, dict) else kind(value)
        for key, value in settings.items()
        if above + key not in OF_THE_CHART
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def schema(old):
    schema = json.loads(old)
    schema["definitions"]["settings"] = sections(tomllib.loads(Path("src/config/default.toml").read_text()))
    return json.dumps(schema, indent=2) + "\n"


def main():
    stale = []
    for name, made in ("README.md", readme), ("values.schema.json", schema):
        path = CHART / name
        old = path.read_text()
        new = made(old)
        if new != old:
            stale.append(str(path))
            if "--check" not in sys.argv:
                path.write_text(new)
    if stale and "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)} not current: run scripts/chart-docs")


if __name__ == "__main__":
    main()
