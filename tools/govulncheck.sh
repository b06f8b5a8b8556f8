#!/usr/bin/env bash
# Runs govulncheck, and says so when its database cannot be reached: an answer
# about vulnerabilities must not depend on guessing which of the two happened.
set -u
if out=$(timeout 300 go tool -modfile=tools/go.mod govulncheck ./... 2>&1); then
	echo "$out" | tail -n 3
	exit 0
fi
if grep -qE 'fetching vulnerabilities|dial tcp|no such host|connection refused|proxyconnect|Forbidden|vuln\.go\.dev' <<<"$out"; then
	echo "govulncheck: its database cannot be reached; nothing was checked"
	exit 0
fi
echo "$out"
exit 1
