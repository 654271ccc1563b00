"""Debian's own Postfix and Dovecot, in a root folder of their own: no installed mail server is touched or replaced.

The packages are unpacked into `.dev/`, with the libraries that they need, and run there by `chroot`: they find the
paths and the accounts that their packages count on, and the system gets neither. They share the machine's loopback
interface, and nothing else.

Two mail systems: `relay` is the provider's, which takes mails from who has logged in, keeps the return mailbox and
hosts a customer or two; `mx` is that of the other customers.
"""

import contextlib
import fcntl
import grp
import os
import pathlib
import platform
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time

PACKAGES = ["postfix", "dovecot-core", "dovecot-imapd", "dovecot-lmtpd"]
ACCOUNTS = ["postfix", "postdrop", "dovecot", "dovenull", "vmail"]
DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}
POSTFIX_QUEUES = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved",
                  "trace"]  # fmt: skip
# The services of a Postfix beside its SMTP servers.
MASTER = """
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
# What is written differently, by version.
DOVECOT = {
    "2.3": """
protocols = imap lmtp
ssl_cert = </etc/server.pem
ssl_key = </etc/server.key
mail_location = maildir:/var/mail/%u
passdb {
  driver = passwd-file
  args = scheme=PLAIN /etc/dovecot/users
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/var/mail/%u
}
""",
    "2.4": """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols = imap lmtp
ssl_server_cert_file = /etc/server.pem
ssl_server_key_file = /etc/server.key
mail_driver = maildir
mail_path = /var/mail/%{user}
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
  default_password_scheme = PLAIN
}
userdb static {
  fields {
    uid = vmail
    gid = vmail
    home = /var/mail/%{user}
  }
}
""",
}


class SkippedError(Exception):
    """The trial cannot be made on this machine; says why."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def make_listener(name, service):
    """The socket at which Dovecot serves an instance of Postfix."""
    return f"""
  unix_listener /var/spool/{name}/private/dovecot-{service} {{
    user = postfix
    mode = 0600
  }}
"""


# === PROGRAMS === #


def unpack_programs(folder):
    """Fetch and unpack the programs and their libraries, unless they are there. Returns the folder to make a root of.

    :raise SkippedError: this machine cannot run them, or they cannot be had
    """
    if os.geteuid():
        raise SkippedError("Postfix has to be started as root")
    if missing := [name for name in ("apt-get", "dpkg-deb", "dpkg-query", "ldd", "chroot") if not shutil.which(name)]:
        raise SkippedError(f"not a Debian system: there is no {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    release = folder / platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    programs = release / "programs"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not programs.is_dir():
            shutil.rmtree(release, ignore_errors=True)
            (release / "packages").mkdir(parents=True)
            new = release / "new"
            for package in fetch(release / "packages"):
                subprocess.run(["dpkg-deb", "-x", package, new], check=True)
            merge_folders(new)
            copy_libraries(new)
            new.rename(programs)
    return programs


def fetch(folder):
    """Download the packages, and those of their libraries that the system does not have. Returns the files."""
    wanted, files = list(PACKAGES), {}
    while wanted:
        # (as the user that runs this, who alone may be able to reach the folder)
        done = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=", "download", *wanted], cwd=folder,
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
            raise SkippedError(f"apt-get has no {', '.join(wanted)} ({' '.join(said)[:300]}); apt-get update may help")
        files = {path.name.partition("_")[0]: path for path in folder.glob("*.deb")}
        wanted = [name for name in find_libraries(files.values()) if name not in files and not is_installed(name)]
    return files.values()


def find_libraries(packages):
    """Names of the libraries that packages depend on."""
    fields = "".join(
        subprocess.run(["dpkg-deb", "-f", package, "Depends"], check=True, capture_output=True, text=True).stdout + ","
        for package in packages)  # fmt: skip
    return sorted({word.split()[0].partition(":")[0] for word in fields.split(",")
                   if re.match(r"lib.*\d", word.strip())})  # fmt: skip


def is_installed(name):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name], capture_output=True, text=True,
                          check=False)  # fmt: skip
    return done.stdout.startswith("ii")


def merge_folders(root):
    """The folders that Debian has merged, whichever way the packages still name them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)
        (root / name).symlink_to(f"usr/{name}")


def copy_libraries(root):
    """Copy what the programs load from the system."""
    own = [path.parent for path in root.glob("usr/lib/**/*.so*")]
    env = {**os.environ, "LC_ALL": "C", "LD_LIBRARY_PATH": ":".join(map(str, dict.fromkeys(own)))}
    files = [path for folder in ("usr/bin", "usr/sbin", "usr/lib") for path in (root / folder).rglob("*")
             if path.is_file() and not path.is_symlink() and path.open("rb").read(4) == b"\x7fELF"]  # fmt: skip
    listed = subprocess.run(["ldd", *files], env=env, capture_output=True, text=True, check=False).stdout
    for library in sorted(set(re.findall(r"^\s.*?(/\S+) \(0x", listed, re.MULTILINE))):
        if not library.startswith(str(root)):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)


# === SERVERS === #


class MailHost:
    """Both mail systems, running. Use it in a `with`.

    :ivar ports: of the service by name: `submission`, `submission_without_dsn`, `relay`, `mx`, `imap`
    :ivar versions: of the programs by name
    """

    def __init__(self, folder, programs, certs, *, login, mailboxes):
        """Nothing runs yet.

        :param pathlib.Path folder: of which a root is made; its content is replaced
        :param programs: what `unpack_programs()` returned
        :param certs: folder with `server.pem` and `server.key`
        :param dict login: password by login of those who submit mail or read a mailbox
        :param mailboxes: addresses that have one
        """
        self.root, self.programs, self.certs = pathlib.Path(folder).resolve(), programs, certs
        self.login, self.mailboxes = login, mailboxes
        self.ports = {name: free_port() for name in ("submission", "submission_without_dsn", "relay", "mx", "imap")}
        self.processes = []

    def __enter__(self):
        try:
            self.make_root()
            self.versions = {
                "postfix": self.ask("postconf", "-dh", "mail_version"), "dovecot": self.ask("dovecot", "--version")}
            self.write_dovecot()
            self.write_relay()
            self.write_mx()
            self.start("/usr/sbin/dovecot", "-F", "-c", "/etc/dovecot/dovecot.conf")
            for name in ("relay", "mx"):
                self.start("/usr/lib/postfix/sbin/master", "-c", f"/etc/{name}")
            self.wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc):
        self.stop()

    def start(self, *command):
        with (self.root / "var/log/start.log").open("ab") as log:
            self.processes.append(subprocess.Popen(
                ["chroot", self.root, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True, env={"PATH": "/usr/bin:/usr/sbin", "LANG": "C"}))  # fmt: skip

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        self.end_left_over()

    def end_left_over(self):
        """End what still runs in this root: servers of a call that was killed, and children of those that were."""
        for _attempt in range(50):
            left = [int(path.parent.name) for path in pathlib.Path("/proc").glob("[0-9]*/root") if self.is_inside(path)]
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def is_inside(self, link):
        with contextlib.suppress(OSError):
            return link.readlink().is_relative_to(self.root)
        return False

    def wait_until_up(self):
        end = time.monotonic() + 60
        for name, port in self.ports.items():
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as sock:
                    # IMAP begins with TLS
                    if name == "imap" or sock.recv(100).startswith(b"220 "):
                        break
                if time.monotonic() > end or any(process.poll() is not None for process in self.processes):
                    raise RuntimeError(f"the mail servers did not start:\n{self.read_log()}")
                time.sleep(0.1)

    def read_log(self):
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in (self.root / "var/log").glob("*.log"))

    def ask(self, program, *args):
        """What one of the programs says."""
        done = subprocess.run(["chroot", self.root, f"/usr/sbin/{program}", *args], capture_output=True, text=True,
                              check=False, cwd="/")  # fmt: skip
        if done.returncode:
            raise SkippedError(f"{program} does not run in {self.root}: {done.stderr.strip()}")
        return done.stdout.strip()

    # === ROOT FOLDER === #

    def make_root(self):
        self.end_left_over()
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.parent.mkdir(parents=True, exist_ok=True)
        # The programs are shared with the others that use them; all that is written is made anew.
        subprocess.run(["cp", "-al", self.programs, self.root], check=True)
        for name in ("etc", "var", "run", "dev", "tmp"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            (self.root / name).mkdir()
        self.root.chmod(0o755)
        (self.root / "tmp").chmod(0o1777)
        for name, minor in DEVICES.items():
            path = self.root / "dev" / name
            try:
                os.mknod(path, 0o20666, os.makedev(1, minor))
                path.chmod(0o666)
                path.open("rb").close()
            except OSError as error:
                raise SkippedError(f"no devices can be made in {self.root} ({error.strerror})") from error
        self.make_accounts()
        self.write("etc/hosts", "127.0.0.1 localhost\n127.0.0.1 mail.muster.test\n127.0.0.1 mx.customer.test\n")
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\n")
        for path in (pathlib.Path("/etc/localtime"), *self.certs.glob("server.*")):
            if path.is_file():
                self.write(f"etc/{path.name}", path.read_bytes())
        (self.root / "etc/server.key").chmod(0o600)
        for name in ("var/log", "var/lib/dovecot", "run/dovecot"):
            (self.root / name).mkdir(parents=True)
        self.make_owned("var/mail", "vmail", 0o700)
        for name in ("relay", "mx"):
            self.make_queue(name)

    def make_accounts(self):
        """Accounts for the servers, known in this root only, with numbers that nobody has outside."""
        used = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
        numbers = (number for number in range(59999, 1000, -1) if number not in used)
        self.ids = dict(zip(ACCOUNTS, numbers, strict=False))
        self.write("etc/passwd", "root:x:0:0::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n" + "".join(
            f"{name}:x:{number}:{number}::/:/bin/false\n" for name, number in self.ids.items()))  # fmt: skip
        self.write("etc/group", "root:x:0:\nnogroup:x:65534:\n" + "".join(
            f"{name}:x:{number}:\n" for name, number in self.ids.items()))  # fmt: skip

    def make_owned(self, name, owner, mode, group=None):
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, self.ids.get(owner, 0), self.ids.get(group or owner, 0))
        path.chmod(mode)

    def make_queue(self, name):
        spool = f"var/spool/{name}"
        self.make_owned(spool, "root", 0o755)
        self.make_owned(f"{spool}/pid", "root", 0o755)
        for queue in POSTFIX_QUEUES:
            self.make_owned(f"{spool}/{queue}", "postfix", 0o700, "root")
        self.make_owned(f"{spool}/public", "postfix", 0o2710, "postdrop")
        self.make_owned(f"{spool}/maildrop", "postfix", 0o1730, "postdrop")
        self.make_owned(f"var/lib/{name}", "postfix", 0o700)

    def write(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    # === POSTFIX === #

    def write_relay(self):
        """The provider's mail system."""
        ports = self.ports
        submission = ["smtpd_tls_security_level=encrypt", "smtpd_sasl_auth_enable=yes",
                      "smtpd_relay_restrictions=permit_sasl_authenticated,reject"]  # fmt: skip
        self.write_postfix("relay", {
            "myhostname": "mail.muster.test", "mynetworks": "",
            "virtual_mailbox_domains": "muster.test hosted.test",
            "virtual_alias_maps": "inline:{bounce@muster.test=dunning@muster.test,"
                                  " catchall@muster.test=dunning@muster.test}",
            "transport_maps": f"inline:{{customer.test=smtp:[127.0.0.1]:{ports['mx']}}}",
            "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": "private/dovecot-auth",
            "smtpd_tls_cert_file": "/etc/server.pem", "smtpd_tls_key_file": "/etc/server.key",
            # lets a trial write as if from another host
            "smtpd_authorized_xclient_hosts": "127.0.0.1",
            "delay_warning_time": "1s", "confirm_delay_cleared": "yes",
        }, {ports["relay"]: [], ports["submission"]: submission,
            ports["submission_without_dsn"]: [*submission, "smtpd_discard_ehlo_keywords=dsn"]})  # fmt: skip

    def write_mx(self):
        """The mail system of customers. It takes what is for an address that Dovecot does not know, and bounces it."""
        self.write_postfix("mx", {
            "myhostname": "mx.customer.test", "mynetworks": "127.0.0.1",
            "virtual_mailbox_domains": "customer.test",
            "virtual_alias_maps": "inline:{moved@customer.test=dead@hosted.test}",
            "transport_maps": f"inline:{{muster.test=smtp:[127.0.0.1]:{self.ports['relay']},"
                              f" hosted.test=smtp:[127.0.0.1]:{self.ports['relay']}}}",
            "smtpd_recipient_restrictions": "check_recipient_access texthash:/etc/mx/access",
        }, {self.ports["mx"]: []})  # fmt: skip
        self.write("etc/mx/access", "")

    def write_postfix(self, name, settings, services):
        """Write the configuration of an instance.

        :param str name: of its folders
        :param dict settings: of its own
        :param dict services: options of the SMTP server by port
        """
        settings = {
            "compatibility_level": "3.6", "queue_directory": f"/var/spool/{name}", "data_directory": f"/var/lib/{name}",
            "maillog_file": f"/var/log/{name}.log", "mydestination": "", "alias_maps": "", "alias_database": "",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "disable_dns_lookups": "yes",
            "smtp_host_lookup": "native", "smtp_tls_security_level": "none", "smtputf8_enable": "no",
            "virtual_mailbox_maps": f"texthash:/etc/{name}/mailboxes",
            "virtual_transport": "lmtp:unix:private/dovecot-lmtp",
            "smtpd_relay_restrictions": "permit_mynetworks,reject_unauth_destination",
            "queue_run_delay": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "2s",
            **settings}  # fmt: skip
        self.write(f"etc/{name}/main.cf", "".join(f"{key} = {value}\n" for key, value in settings.items()))
        unknown = ["unknown@customer.test", "unknown5@customer.test"] if name == "mx" else []
        self.write(f"etc/{name}/mailboxes", "".join(f"{address} x\n" for address in [*self.mailboxes, *unknown]))
        lines = [f"127.0.0.1:{port} inet n - n - - smtpd{''.join(f' -o {option}' for option in options)}"
                 for port, options in services.items()]  # fmt: skip
        self.write(f"etc/{name}/master.cf", "\n".join(lines) + MASTER)

    def set_access(self, text):
        """Have the customers' server answer some addresses differently, see access(5)."""
        self.write("etc/mx/access", text)
        self.processes[-1].send_signal(signal.SIGHUP)

    # === DOVECOT === #

    def find_dovecot_version(self):
        version = ".".join(self.versions["dovecot"].split(".")[:2])
        if version not in DOVECOT:
            raise SkippedError(f"how Dovecot {version} is configured is not known here")
        return version

    def write_dovecot(self):
        """One Dovecot keeps the mailboxes of both mail systems, and knows the logins."""
        self.write("etc/dovecot/users", "".join(
            f"{address}:{self.login.get(address, 'x')}\n" for address in dict.fromkeys([*self.login, *self.mailboxes])))
        self.write("etc/dovecot/dovecot.conf", DOVECOT[self.find_dovecot_version()] + f"""
log_path = /var/log/dovecot.log
base_dir = /run/dovecot
listen = 127.0.0.1
hostname = mail.muster.test
ssl = required
auth_mechanisms = plain login
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {self.ports["imap"]}
    ssl = yes
  }}
}}
service lmtp {{{make_listener("relay", "lmtp")}{make_listener("mx", "lmtp")}}}
service auth {{{make_listener("relay", "auth")}}}
""")

    # === MAILS === #

    def list_mails(self, address):
        """The mails that lie in a mailbox, as paths."""
        return sorted(path for name in ("new", "cur") for path in (self.root / "var/mail" / address / name).glob("*"))

    def is_idle(self, address):
        """Whether no mail is on its way: none in a queue, none in the mailbox that nobody has read."""
        spools = [self.root / "var/spool" / name / queue for name in ("relay", "mx")
                  for queue in ("maildrop", "incoming", "active", "deferred")]  # fmt: skip
        return not any(files for spool in spools for _folder, _folders, files in os.walk(spool)) and not any(
            path.parent.name == "new" or "S" not in path.name.rpartition(":2,")[2] for path in self.list_mails(address))
