#!/bin/sh
# Compares proto/ with an earlier commit: buf breaking, by the rules of buf.yaml.
#
#   sh tools/proto-breaking.sh BASE|"" BUF-COMMAND...
#
# Without BASE: where this branch left main; on main itself the last commit, or the one before it
# where nothing changed since.
set -eu
base=$1
shift

skip() {
    echo "buf breaking: skipped, $1"
    exit 0
}

has() { git rev-parse --quiet --verify "$1^{commit}" >/dev/null; }

choose() {
    for main in origin/main main; do
        if has "$main" && fork=$(git merge-base HEAD "$main") &&
            [ "$fork" != "$(git rev-parse HEAD)" ]; then
            echo "$fork"
            return
        fi
    done
    if ! git diff --quiet HEAD -- proto buf.yaml; then
        echo HEAD
    elif has HEAD~1; then
        echo HEAD~1
    fi
}

# A parent folder's repository is not ours.
[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$PWD" ] || skip "this is not a git work tree"
has HEAD || skip "there is no commit to compare with"
base=${base:-$(choose)}
[ -n "$base" ] || skip "there is no main to compare with"
git cat-file -e "$base:proto" 2>/dev/null || skip "$base has no proto/"

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$base" proto | tar -x -C "$before"
cp buf.yaml "$before/"
echo "buf breaking: compared with $(git log -1 --format='%h %s' "$base")"
"$@" breaking --against "$before"
