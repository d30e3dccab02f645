"""Each message of the programs' table, in words of the programs, with addresses of both families and with masks."""

from __future__ import annotations

import pytest

from exporter.pipeline.normalise import Normaliser
from exporter.pipeline.parse.messages import MESSAGES, PAM
from exporter.pipeline.parse.programs import parse_program
from tests.support.fuzz_parsers import fuzz_pipeline
from tests.support.pipelines import batch_of, events_of, pipeline_of, stream_of

#: Program and message; ``USER`` and ``PEER`` are put in below. Kind that the event must have.
SAMPLES = (
    ("sshd", "Accepted publickey for USER from PEER port 5 ssh2: ED25519 SHA256:abc", "auth.logon"),
    ("sshd", "Failed password for invalid user USER from PEER port 5 ssh2", "auth.logon"),
    ("sshd", "Failed password for USER from PEER port 5 ssh2", "auth.logon"),
    ("sshd", "Invalid user USER from PEER port 5", "auth.logon"),
    ("sshd", "error: maximum authentication attempts exceeded for USER from PEER port 5 ssh2 [preauth]", "auth.logon"),
    ("sshd", "User USER from PEER not allowed because not listed in AllowUsers", "auth.logon"),
    ("sshd", "Connection from PEER port 5 on PEER port 22", "net.session"),
    ("sshd", "Connection closed by authenticating user USER PEER port 5 [preauth]", "net.session"),
    ("sshd", "Connection closed by invalid user USER PEER port 5 [preauth]", "net.session"),
    ("sshd", "Disconnected from user USER PEER port 5", "auth.logoff"),
    ("sshd", "Received disconnect from PEER port 5:11: disconnected by user", "net.session"),
    ("sshd", "Connection reset by PEER port 5 [preauth]", "net.session"),
    ("sshd", "Did not receive identification string from PEER port 5", "net.session"),
    ("sshd", "Bad protocol version identification 'GET /' from PEER port 5", "net.session"),
    ("sshd", "Server listening on PEER port 22.", "log"),
    ("sshd", "pam_unix(sshd:session): session opened for user USER(uid=1000) by (uid=0)", "auth.logon"),
    ("sshd", "pam_unix(sshd:session): session closed for user USER", "auth.logoff"),
    ("sshd", "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=PEER  user=USER", "auth.logon"),
    ("sshd", "pam_unix(sshd:auth): check pass; user unknown", "log"),
    ("login", "pam_faillock(sshd:auth): Consecutive login failures for user USER account temporarily locked", "iam.user.lock"),
    ("passwd", "pam_unix(passwd:chauthtok): password changed for USER", "iam.password.change"),
    ("sudo", "USER : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh", "auth.elevate"),
    ("sudo", "USER : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh", "auth.elevate"),
    ("sudo", "USER : TTY=pts/0 ; PWD=/ ; USER=USER ; COMMAND=/bin/cat /etc/shadow", "auth.elevate"),
    ("su", "FAILED SU (to root) USER on pts/0", "auth.elevate"),
    ("su", "Successful su for root by USER", "auth.elevate"),
    ("su", "(to root) USER on pts/0", "auth.elevate"),
    ("useradd", "new user: name=USER, UID=1001, GID=1001, home=/home/x, shell=/bin/bash, from=/dev/pts/0", "iam.user.create"),
    ("useradd", "new group: name=USER, GID=1001", "iam.group.change"),
    ("useradd", "add 'USER' to shadow group 'wheel'", "iam.group.change"),
    ("useradd", "failed adding user 'USER', data deleted", "iam.user.create"),
    ("usermod", "change user 'USER' shell from '/bin/sh' to '/bin/bash'", "iam.user.update"),
    ("usermod", "lock user 'USER' password", "iam.user.lock"),
    ("usermod", "unlock user 'USER' password", "iam.user.update"),
    ("usermod", "add 'USER' to group 'wheel'", "iam.group.change"),
    ("usermod", "delete 'USER' from group 'wheel'", "iam.group.change"),
    ("userdel", "delete user 'USER'", "iam.user.delete"),
    ("userdel", "removed group 'USER' owned by 'USER'", "iam.group.change"),
    ("groupadd", "new group: name=ops, GID=1001", "iam.group.change"),
    ("groupdel", "group 'ops' removed", "iam.group.change"),
    ("passwd", "password for 'USER' changed by 'root'", "iam.password.change"),
    ("passwd", "password for USER changed by root", "iam.password.change"),
    ("cron", "(USER) CMD (run-parts /etc/cron.hourly)", "job.run"),
    ("cron", "(USER) RELOAD (crontabs/x)", "log"),
    ("systemd-logind", "New session 5 of user USER.", "auth.logon"),
    ("systemd-logind", "Removed session 5.", "log"),
    ("systemd-logind", "Session 5 logged out. Waiting for processes to exit.", "log"),
    ("systemd", "Started nginx.service - a web server.", "service.change"),
    ("systemd", "Stopped nginx.service.", "service.change"),
    ("systemd", "Failed to start nginx.service.", "service.change"),
)  # fmt: skip


@pytest.mark.parametrize("user", ["anna", "[redacted-email]", "DOM\\anna"])
@pytest.mark.parametrize("peer", ["203.0.113.7", "2001:db8::7", "fe80::1%eth0", "[redacted-ipv4]", "[redacted-ipv6]"])
def test_each_message(user: str, peer: str):
    mapper = Normaliser().mapper(frozenset())
    for program, words, kind in SAMPLES:
        text = words.replace("USER=USER", f"USER={user}").replace("USER=root", "U=root").replace("USER", user)
        text = text.replace("U=root", "USER=root").replace("PEER", peer)
        if "USER=USER" in words:
            text = f"{user} : TTY=pts/0 ; PWD=/ ; USER={user} ; COMMAND=/bin/cat /etc/shadow"
        found = parse_program(program, text)
        assert found is not None, words
        source, (keys, values) = found
        event = mapper(source, keys, values)
        assert (event["kind"], event["message"]) == (kind, text), words
        if "USER" in words and "group" not in words:
            assert user in (event.get("user.name"), event.get("user.target.name")), words
        if "PEER" in words:
            ends = ("source.ip", "source.address", "destination.ip", "destination.address")
            assert peer in {event.get(name) for name in ends}, words


def test_there_is_a_sample_for_each_row():
    hit = set()
    for program, words, _ in SAMPLES:
        rows = PAM if words.startswith("pam_") else MESSAGES[program]
        hit.add(next(id(row) for row in rows if row.lead in words and row.pattern.match(words)))
    assert {id(row) for rows in (PAM, *MESSAGES.values()) for row in rows} - hit == set()


@pytest.mark.parametrize("user", ["", "a b", "x from 1.2.3.4 port 1", "root port 22", "é", "-"])
def test_a_strangers_name_forges_no_address(user: str):
    found = parse_program("sshd", f"Failed password for invalid user {user} from 203.0.113.7 port 5 ssh2")
    assert found is not None
    event = Normaliser().mapper(frozenset())(found[0], *found[1])
    assert event["source.ip"] == "203.0.113.7"
    assert event.get("user.name", "") == ("" if user == "-" else user)
    assert (event["kind"] == "auth.logon") == (user not in ("", "-"))


def test_mutated_lines_leave_the_pipeline_as_one_event_each():
    totals = fuzz_pipeline(2000, 5, pipeline_of())
    assert (totals["out"], totals["held"], totals["failed"]) == (2000, 0, 0)


def test_a_mark_that_repeats_does_not_recurse():
    pipeline = pipeline_of(redaction=[])
    (event,) = events_of(pipeline.process(batch_of(stream_of(["%ASA-1-106023: " * 3000]))))
    assert event["kind"] == "log"
