#!/bin/sh
# Make the passwords of compose.yaml, one file each, in deploy/secrets/ (ignored by git); those that exist stay.
# The containers run as user 1000: run this as that user, or set FLAMINGO_UID for `docker compose`.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
word() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
keep() { if test -s "$folder/$1"; then cat >/dev/null; else cat >"$folder/$1.new" && mv "$folder/$1.new" "$folder/$1"; fi; }
for name in postgres_password mlflow_password prefect_password s3_access_key s3_secret_key; do
  word | tr -d '\n' | keep "$name"
done
printf 'team:%s' "$(word)" | keep prefect_auth
printf '{"identities": [{"name": "flamingo", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin"]}]}\n' \
  "$(cat "$folder/s3_access_key")" "$(cat "$folder/s3_secret_key")" | keep s3.json
echo "secrets in $folder"
