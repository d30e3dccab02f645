"""Lines of every format, by the source that ``auto`` finds in them. Of our own making, after the formats' documentation."""

from __future__ import annotations

SAMPLES: dict[str, tuple[str, ...]] = {
    "access": (
        'example.com:443 2001:db8::1 - - [23/Nov/2026:06:00:00 +0000] "GET /a?x HTTP/1.1" 200 5 "-" "curl/8"',
        '1.2.3.4 - - [23/Nov/2026:06:00:00 +0000] "\\x16\\x03\\x01" 400 0 "-" "-"',
        '1.2.3.4 - - [23/Nov/2026:06:00:00 +0000] "-" 408 0',
        '1.2.3.4 - bob [23/Nov/2026:06:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl \\"x\\"" 0.123 0.120',
        '1.2.3.4 - - [23/Nov/2026:06:00:00 +0000] "GET / HTTP/2.0" 200 5 "-" "curl" rt=0.1 uct="0.0" urt="0.1"',
        '1.2.3.4 - - [23/Nov/2026:06:00:00 +0000] "GET / HTTP/2.0" 200 5 "-" "curl" 150 0.005 [ns-svc-80] [] 10.0.0.1:80 12 0.004 200 abcdef',
    ),
    "auditd": (
        'type=SYSCALL msg=audit(1700000000.123:456): arch=c000003e syscall=59 success=yes exit=0 a0=55 comm="ls" exe="/bin/ls" key=(null)',
        "type=PROCTITLE msg=audit(1700000000.123:456): proctitle=6C73002D6C61",
        'type=USER_LOGIN msg=audit(1700000000.123:457): pid=1 uid=0 auid=1000 ses=1 msg=\'op=login acct="bob" exe="/usr/sbin/sshd" hostname=? addr=1.2.3.4 terminal=ssh res=success\'',
    ),
    "auth": (
        "Oct  1 22:14:15 web CRON[7]: (root) CMD (run-parts /etc)",
        "Oct  1 22:14:15 web systemd-logind[1]: New session 5 of user bob.",
        "Oct  1 22:14:15 web useradd[3]: new user: name=eve, UID=1001, GID=1001, home=/home/eve, shell=/bin/bash, from=/dev/pts/0",
    ),
    "cef": (
        "CEF:0|Sec\\|urity|threat=manager|1.0|100|worm\\\\ stopped|10|src=10.0.0.1 dst=2.1.2.2 cs1Label=Rule Name cs1=a b\\=c msg=hello\\nworld x=1",
        "<134>Jan 01 10:00:00 host CEF:0|V|P|1.0|100|n|10|src=10.0.0.1 spt=1232",
        "<134>Jan 01 10:00:00 CEF:0|V|P|1.0|100|n a|10|src=10.0.0.1 spt=1232",
        '{"message":"CEF:0|V|P|1.0|100|n|10|src=10.0.0.1 spt=1232","host":"x"}',
    ),
    "cri": ("2024-01-02T15:04:05.123456789Z stderr P half a li",),
    "json": ('{"log":"plain text\\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}',),
    "klog": (
        '2024-01-02T15:04:05.123456789Z stderr F I0102 15:04:05.000000 1 file.go:12] "msg x" key="value" n=1',
        "I0102 15:04:05.000000       1 file.go:12] plain message here",
    ),
    "kv": (
        "k: v, k2: v2, k3=x y",
        "a=1; b=2; c=3",
        "user=bob|action=login|res=ok",
    ),
    "leef": (
        "LEEF:1.0|Microsoft|MSExchange|4.0 SP1|15345|src=192.0.2.0\tdst=172.50.123.1\tsev=5\tusrName=joe black",
        "LEEF:2.0|Lancope|StealthWatch|1.0|41|^|src=192.0.2.0^dst=172.50.123.1^sev=5",
        "LEEF:2.0|Lancope|StealthWatch|1.0|41|x7C|src=192.0.2.0|dst=172.50.123.1|sev=5",
        "LEEF:2.0|Lancope|StealthWatch|1.0|41|src=192.0.2.0\tdst=1",
    ),
    "logfmt": (
        '2024-01-02T15:04:05.123456789Z stdout F {"level":"info","msg":"user=bob ok=true"}',
        '{"log":"level=info msg=hi a=1\\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}',
        'date=2024-01-02 time=12:00:00 devname="fg" devid="F" logid="0000000013" type="traffic" subtype="forward" srcip=1.2.3.4',
        '<189>date=2024-01-02 time=12:00:00 devname="fg" devid="F" logid="0000000013" type="traffic"',
    ),
    "netfilter": (
        "Oct  1 22:14:15 web kernel: [12.3] [UFW BLOCK] IN=eth0 OUT= MAC=aa SRC=1.2.3.4 DST=5.6.7.8 LEN=60 DF PROTO=TCP SPT=1 DPT=22 SYN URGP=0",
    ),
    "pam": ("Oct  1 22:14:15 web sshd[3]: pam_unix(sshd:session): session opened for user bob(uid=1000) by (uid=0)",),
    "prefixed": (
        "2024-01-02 15:04:05,123 INFO app.main: started",
        "2024-01-02 15:04:05,123 - app.main - WARNING - uh oh",
        "2024-01-02 15:04:05.123  INFO 17 --- [           main] c.e.demo.Application : Started",
        "2024-01-02 15:04:05.123 [main] ERROR com.example.App - boom",
        "[2024-01-02 15:04:05 +0000] [7] [INFO] Booting worker",
        "ERROR:root:bad",
        '2024/01/02 15:04:05 [error] 31#31: *7 open() "/x" failed (2: No such file), client: 1.2.3.4, server: localhost, request: "GET / HTTP/1.1"',
        "2024/01/02 15:04:05 http: panic serving",
        "[Thu Jun 09 11:12:13.123456 2026] [core:error] [pid 1:tid 2] [client 192.0.2.1:443] AH00128: File does not exist",
    ),
    "sshd": (
        "<86>Oct  1 22:14:15 web sshd[99]: Failed password for invalid user ad min from x from [redacted-ipv4] port 22 ssh2",
    ),
    "sudo": (
        "<34>Oct 11 22:14:15 mymachine su[12]: Successful su for root by bob",
        "2024-01-02T15:04:05.123456+01:00 web sudo: bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/ls -l",
    ),
    "syslog": (
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed",
        '<165>1 2003-10-11T22:14:15.003Z host evntslog 12 ID47 [exampleSDID@32473 iut="3" eventSource="App\\"l\\]\\\\x" e="[redacted-email]"][ex@1 a="b"] An event',
        "<166>Jan 01 2024 10:00:00 fw : %ASA-4-106023: Deny tcp src outside:1.2.3.4/5 dst inside:6.7.8.9/22",
        "<189>123: r1: *Jan  1 10:00:00.123 UTC: %SYS-5-CONFIG_I: Configured from console",
        "%ASA-6-302013: Built inbound TCP connection",
    ),
    "text": (
        '<!DOCTYPE a [<!ENTITY b "c">]><Event><System><EventID>1</EventID></System></Event>',
        "just some prose here: nothing",
        "Hello world",
        "<b>html</b> text",
    ),
    "winxml": (
        '<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><Provider Name="Microsoft-Windows-Security-Auditing"/><EventID>4624</EventID><Computer>DC1</Computer></System><EventData><Data Name="TargetUserName">bob</Data><Data Name="IpAddress">-</Data></EventData></Event>',
    ),
}
