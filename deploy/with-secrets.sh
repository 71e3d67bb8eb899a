#!/bin/sh
# NAME_FILE=/run/secrets/… becomes NAME=<its content> for the program that is started, and for nothing else.
set -eu
for name in $(env | sed -n "s|^\([A-Z][A-Z0-9_]*\)_FILE=${SECRETS:-/run/secrets}/.*|\1|p"); do
  file=$(printenv "${name}_FILE")
  export "$name=$(cat "$file")"
  unset "${name}_FILE"
done
exec "$@"
