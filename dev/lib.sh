# shellcheck shell=bash disable=SC2034  # the names below are for those who source it
# Sourced by the commands in dev/: where things lie, and how they are run. It changes nothing by itself.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
DEV=$ROOT/.dev
VENV=$DEV/venv
PY=$VENV/bin/python
CERTS=$DEV/certs
ADDON=dunning_mail
# What this repository holds, each after what it depends on.
ADDONS=(report_pdf_engine dunning_mail)
export PYTHONDONTWRITEBYTECODE=1
# runuser and chroot are there, which not every environment names (that of cron does not)
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
step() { [ -n "${DEV_QUIET:-}" ] || say "==> $*"; }
warn() { say "warning: $*"; }
die() { say "error: $*"; exit 1; }

# A finished step leaves a stamp: a hash of all that went into it. A stamp that is missing (the step was
# interrupted) or differs (its inputs have changed) means that the step is done again from the start.
stamp_ok() { [ "$(cat "$DEV/stamp/$1" 2>/dev/null)" = "$2" ]; }
stamp_drop() { rm -f "$DEV/stamp/$1"; }
stamp_set() { mkdir -p "$DEV/stamp" && printf '%s\n' "$2" >"$DEV/stamp/$1.new" && mv "$DEV/stamp/$1.new" "$DEV/stamp/$1"; }
hash_of() { sha256sum | cut -c1-16; }

# lock NAME: one process at a time from here on. The lock goes with the process; children that outlive it
# are started with 9>&- so that they do not keep it.
lock() {
    mkdir -p "$DEV"
    exec 9>"$DEV/$1.lock"
    # most hold it for a moment only, of which nobody needs to hear
    if ! flock -w 2 9; then
        say "waiting for another process that holds $DEV/$1.lock"
        flock 9
    fi
}
unlock() { exec 9>&-; }

ensure_setup() { DEV_QUIET=1 "$ROOT/dev/setup" || exit 1; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# --- PostgreSQL ---

pg_bin() {
    local dir
    # shellcheck disable=SC2012  # version numbers only
    dir=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
    if [ -z "$dir" ]; then
        dir=$(dirname "$(command -v initdb || true)")
    fi
    [ -x "$dir/initdb" ] || die "no PostgreSQL server programs found (initdb); run dev/setup"
    printf '%s\n' "$dir"
}

# PostgreSQL refuses to run as root: then it runs as the user that Debian's package makes for it.
as_pg() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

# Where the cluster and its socket lie: under .dev, unless the server's user cannot reach that (a clone under
# /root, say) or the path is too long for a unix socket (107 bytes); then in a folder of this clone's own.
pg_base() {
    local base=$DEV/pg
    if [ ${#base} -gt 85 ] || ! as_pg test -x "$DEV"; then
        base=/var/tmp/$ADDON-$(id -u)-$(printf '%s' "$ROOT" | hash_of)
    fi
    printf '%s\n' "$base"
}

# The ways to the private cluster, for psql, createdb and the like, and for Odoo's own calls of them.
pg_env() {
    PGHOST=$(pg_base)
    PATH=$(pg_bin):$PATH
    PGPORT=5432
    PGUSER=odoo
    PGDATABASE=postgres
    export PGHOST PGPORT PGUSER PGDATABASE PATH
    unset PGPASSWORD PGSERVICE PGSSLMODE
}

sql() { PGDATABASE=postgres psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
db_exists() { [ "$(sql -v n="$1" <<<"SELECT 1 FROM pg_database WHERE datname = :'n'")" = 1 ]; }
drop_db() {
    sql -v n="$1" <<<"DROP DATABASE IF EXISTS :\"n\" WITH (FORCE)" 2>&1 | { grep -v 'does not exist, skipping' >&2 || true; }
    rm -rf "$DEV/data/filestore/$1"
}

# --- Odoo ---

# The folder that holds the package `odoo`: a source that is already there, or the unpacked Debian package.
odoo_path() {
    if [ -s "$DEV/odoo_src" ]; then
        cat "$DEV/odoo_src"
    else
        printf '%s\n' "$DEV/odoo/usr/lib/python3/dist-packages"
    fi
}

# What a child needs to import Odoo and to find its configuration.
odoo_env() {
    pg_env
    PYTHONPATH=$(odoo_path)
    ODOO_RC=$DEV/odoo.conf
    # the system's authorities and the one that dev/certs.py made: so a verified connection to dev/smtpd works
    SSL_CERT_FILE=$CERTS/bundle.pem
    export PYTHONPATH ODOO_RC SSL_CERT_FILE
    # PGHOST and the like are Odoo's defaults too, but it must not take a database from the environment
    unset PGDATABASE OPENERP_SERVER
}
