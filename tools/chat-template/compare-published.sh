#!/bin/sh
# Renders a chat template with Python's Jinja2 and with the engine and compares every text.
#
#     tools/chat-template/compare-published.sh PATH_TO_TEMPLATE
#
# Nothing of the template or its renderings is kept in the repository. Exits non-zero on any difference.
set -eu

if [ "$#" -ne 1 ] || [ ! -f "$1" ]; then
    echo "usage: $0 PATH_TO_TEMPLATE (a file)" >&2
    exit 2
fi
template=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
work=${CARGO_TARGET_DIR:-target}/chat-template
mkdir -p "$work"
if ! "$work/venv/bin/python" -c 'import jinja2, sys; sys.exit(jinja2.__version__ != "3.1.6")' 2>/dev/null; then
    rm -rf "$work/venv"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi
PYTHONDONTWRITEBYTECODE=1 "$work/venv/bin/python" "$here/render.py" "$template" "$work/cases.json"
status=0
cargo run --quiet --locked -p boca-engine --example render_cases -- "$template" "$work/cases.json" || status=$?
rm -f "$work/cases.json"
exit "$status"
