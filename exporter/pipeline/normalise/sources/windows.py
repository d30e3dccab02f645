"""Windows event logs, whatever ships them: parsed XML, winlogbeat, Alloy and promtail, NXLog.

Sources: learn.microsoft.com, "Audit events" (one page per event id) and "Sysmon"; Elastic, "Winlogbeat fields"; grafana.com,
"loki.source.windowsevent".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.pipeline.normalise.severity import WINDOWS_SEVERITY
from exporter.pipeline.normalise.source import Derive, Source, Variant, first_text, keys
from exporter.pipeline.normalise.sources.event_data import open_event_data

#: Where the shippers put the members of EventData.
_DATA = ("", "EventData.", "Event.EventData.", "winlog.event_data.", "event_data.", "EventData.Data.")
_SYSTEM = ("", "System.", "Event.System.", "winlog.")


def _at(places: tuple[str, ...], names: str) -> str:
    return " ".join(place + name for name in names.split() for place in places)


def _data(**names: str) -> Mapping[str, str]:
    """Canonical names (``__`` for ``.``) of members of EventData."""
    return {target.replace("__", "."): _at(_DATA, members) for target, members in names.items()}


_SUBJECT = _data(
    user__name="SubjectUserName",
    user__id="SubjectUserSid",
    user__domain="SubjectDomainName",
    session__id="SubjectLogonId",
)
_TARGET = {
    **_SUBJECT,
    **_data(
        user__target__name="TargetUserName",
        user__target__id="TargetSid TargetUserSid",
        user__target__domain="TargetDomainName",
    ),
}
_MEMBER = {
    **_SUBJECT,
    **_data(
        group__name="TargetUserName",
        group__id="TargetSid",
        user__target__name="MemberName",
        user__target__id="MemberSid",
    ),
}
_LOGON = _data(user__name="TargetUserName", user__id="TargetUserSid TargetSid", user__domain="TargetDomainName", session__id="TargetLogonId",
               source__ip="IpAddress", source__port="IpPort", source__address="WorkstationName Workstation", auth__logon_type="LogonType",
               auth__method="AuthenticationPackageName", event__reason="FailureReason Status", process__executable="ProcessName",
               service__target__name="ServiceName")  # fmt: skip
_START = {**_SUBJECT, **_data(process__executable="NewProcessName", process__pid="NewProcessId", process__command_line="CommandLine",
                              process__parent__executable="ParentProcessName", process__parent__pid="ProcessId",
                              user__effective__name="TargetUserName")}  # fmt: skip
_STOP = {**_SUBJECT, **_data(process__executable="ProcessName", process__pid="ProcessId", process__exit_code="Status")}
_SERVICE = {**_SUBJECT, **_data(service__target__name="ServiceName param1", file__path="ServiceFileName ImagePath")}
_TASK = {**_SUBJECT, **_data(job__name="TaskName")}
_FLOW = _data(source__ip="SourceAddress SourceIp", source__port="SourcePort", destination__ip="DestAddress DestinationIp", destination__port="DestPort DestinationPort",
              destination__address="DestinationHostname", network__transport="Protocol", network__direction="Direction", process__executable="Application Image",
              process__pid="ProcessID ProcessId")  # fmt: skip
_SYSMON = _data(process__executable="Image SourceImage", process__pid="ProcessId SourceProcessId", process__entity_id="ProcessGuid SourceProcessGuid",
                process__command_line="CommandLine", process__working_directory="CurrentDirectory", process__parent__executable="ParentImage",
                process__parent__pid="ParentProcessId", process__parent__command_line="ParentCommandLine", user__name="User SourceUser", rule__name="RuleName",
                file__hashes="Hashes", process__target__executable="TargetImage", source__ip="SourceIp", source__port="SourcePort", destination__ip="DestinationIp",
                destination__port="DestinationPort", destination__address="DestinationHostname", network__transport="Protocol",
                dns__question__name="QueryName", dns__response_code="QueryStatus", registry__path="TargetObject", registry__value="Details",
                file__path="TargetFilename ImageLoaded", event__category="EventType")  # fmt: skip
_OK = {"event.outcome": "success"}
_BAD = {"event.outcome": "failure"}

#: Security and System logs by event id.
_EVENTS: dict[str, Variant] = {
    "1102": Variant("config.change", {**_OK, "config.name": "security log cleared"}, _SUBJECT),
    "4624": Variant("auth.logon", _OK, _LOGON),
    "4625": Variant("auth.logon", _BAD, _LOGON),
    "4634": Variant("auth.logoff", _OK, _LOGON),
    "4647": Variant("auth.logoff", _OK, _LOGON),
    "4648": Variant(
        "auth.elevate",
        fields={
            **_SUBJECT,
            **_data(
                user__effective__name="TargetUserName",
                source__ip="IpAddress",
                process__executable="ProcessName",
                destination__address="TargetServerName",
            ),
        },
    ),
    "4672": Variant("iam.priv.assign", _OK, {**_SUBJECT, **_data(role__name="PrivilegeList")}),
    "4688": Variant("process.start", _OK, _START),
    "4689": Variant("process.stop", _OK, _STOP),
    "4697": Variant("service.change", _OK, _SERVICE),
    "4698": Variant("job.run", _OK, _TASK),
    "4699": Variant("job.run", _OK, _TASK),
    "4702": Variant("job.run", _OK, _TASK),
    "4719": Variant("config.change", _OK, {**_SUBJECT, **_data(config__name="SubcategoryGuid")}),
    "4720": Variant("iam.user.create", _OK, _TARGET),
    "4722": Variant("iam.user.update", _OK, _TARGET),
    "4723": Variant("iam.password.change", fields=_TARGET),
    "4724": Variant("iam.password.change", fields=_TARGET),
    "4725": Variant("iam.user.lock", _OK, _TARGET),
    "4726": Variant("iam.user.delete", _OK, _TARGET),
    "4728": Variant("iam.group.change", _OK, _MEMBER),
    "4729": Variant("iam.group.change", _OK, _MEMBER),
    "4732": Variant("iam.group.change", _OK, _MEMBER),
    "4733": Variant("iam.group.change", _OK, _MEMBER),
    "4756": Variant("iam.group.change", _OK, _MEMBER),
    "4738": Variant("iam.user.update", _OK, _TARGET),
    "4740": Variant("iam.user.lock", _OK, _TARGET),
    "4767": Variant("iam.user.update", _OK, _TARGET),
    "4768": Variant("auth.ticket", fields=_LOGON),
    "4769": Variant("auth.ticket", fields=_LOGON),
    "4771": Variant("auth.ticket", _BAD, _LOGON),
    "4776": Variant("auth.logon", fields=_LOGON),
    "5156": Variant("net.flow", _OK, _FLOW),
    "5157": Variant("net.flow", _BAD, _FLOW),
    "7045": Variant("service.change", _OK, _SERVICE),
}
#: Sysmon by event id. 1 is a start, 5 a stop, 7 a loaded image, 12 to 14 the registry.
_SYSMON_KINDS = {"1": "process.start", "3": "net.flow", "5": "process.stop", "6": "kernel.module", "11": "file.create", "12": "registry.change", "13": "registry.change",
                 "14": "registry.change", "22": "dns.query", "23": "file.delete", "26": "file.delete"}  # fmt: skip
_SYSMON_EVENTS = {
    f"sysmon:{number}": Variant(_SYSMON_KINDS.get(number, ""), {"observer.product": "Sysmon"}, _SYSMON)
    for number in map(str, range(1, 30))
}
_SYSMON_PROVIDER = "Microsoft-Windows-Sysmon"


def _choose(*values: Any) -> str:
    number = first_text(*values[: len(_ID_PATHS)])
    providers = values[len(_ID_PATHS) :]
    return f"sysmon:{number}" if any(type(p) is str and p.startswith(_SYSMON_PROVIDER) for p in providers) else number


_IDS = "EventID event_id EventId Id EventID.Value EventID.#text"
_PROVIDERS = "ProviderName SourceName provider_name source Provider.Name Provider.@Name Provider"
_ID_PATHS = tuple(_at(_SYSTEM, _IDS).split())
_PROVIDER_PATHS = tuple(_at(_SYSTEM, _PROVIDERS).split())
#: System's Keywords: audit success and audit failure (winmeta.xml); shippers write the mask or its name.
_KEYWORDS = {"0x8020000000000000": "success", "Audit Success": "success", "0x8010000000000000": "failure", "Audit Failure": "failure"}  # fmt: skip
_WINDOWS = Source(
    "winxml",
    "Windows event logs and Sysmon",
    {"event.code": _at(_SYSTEM, _IDS), "observer.name": _at(_SYSTEM, _PROVIDERS), "event.category": _at(_SYSTEM, "Channel channel"),
     "host.name": _at(_SYSTEM, "Computer computer computer_name Hostname MachineName"), "event.severity": _at(_SYSTEM, "Level level"),
     "event.source_id": _at(_SYSTEM, "EventRecordID record_id eventRecordID RecordNumber"), "event.action": _at(_SYSTEM, "Task task taskText"),
     "event.reason": _at(_SYSTEM, "Keywords keywords"), "message": "Message message RenderingInfo.Message",
     "process.pid": _at(_SYSTEM, "ExecutionProcessID process.pid Execution.ProcessID"),
     "user.name": _at(_DATA, "SubjectUserName TargetUserName User"), "severity.text": "levelText log.level LevelDisplayName SeverityValue"},
    keys("EventID Channel", "EventID Computer", "EventID ProviderName", "EventID SourceName", "System EventData", "System.EventID", "winlog"),
    {"observer.vendor": "Microsoft", "observer.product": "Windows"},
    by=(*_ID_PATHS, *_PROVIDER_PATHS),
    choose=_choose,
    variants={**_EVENTS, **_SYSMON_EVENTS},
    derive=(Derive("event.severity", "severity.number", WINDOWS_SEVERITY.get), Derive("event.reason", "event.outcome", _KEYWORDS.get)),
)  # fmt: skip

_ALLOY = Source(
    "windows_alloy",
    "Windows events as Grafana Alloy and promtail ship them; read as winxml",
    signatures=keys("event_id channel computer event_data", "event_id source computer event_data"),
    prepare=open_event_data,
)

SOURCES = (_ALLOY, _WINDOWS)
