"""Each guard in authentication, lifecycle and audit is needed: a copy of the package without it fails a test.

The copy stands first on the path of a process of its own, which runs the named tests only.
"""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
AUTHENTICATION = "tests/test_authentication.py::"
AUTHORIZATION = "tests/test_authorization.py::"
KEYS = "tests/services/test_keys.py::"
TOLD = AUTHENTICATION + "test_the_client_is_told_one_thing_and_the_audit_log_the_reason"
HEADERS = AUTHENTICATION + "test_headers"
NETWORKS = AUTHENTICATION + "test_allowed_networks"
DRAIN = "tests/audit/test_drain.py::"
SPOOL = "tests/audit/test_spool.py::"
GRANTS = "tests/test_grants.py::"
CLIENT = "tests/client/"
CEILING = "tests/permissions/test_ceiling.py::"
API = "tests/faces/api/"
BODIES = API + "test_bodies.py::test_each_is_refused_with_its_status_and_makes_nothing"
GRAPHQL = "tests/faces/graphql/"
HOSTILE = GRAPHQL + "test_limits.py::test_a_hostile_document_is_a_bad_request"


class Guard(NamedTuple):
    """A guard: its exact text, what stands there instead in the copy, and the tests of which one must fail."""

    file: str
    text: str
    instead: str
    tests: tuple[str, ...]


def guard(file: str, text: str, instead: str, *tests: str) -> Guard:
    return Guard(file, text, instead, tests)


GUARDS = {
    # -- the header
    "the header is matched whole": guard(
        "authentication.py",
        "_BEARER.fullmatch(header)",
        "_BEARER.match(header)",
        HEADERS + "[Bearer <good> x-expected11]",
    ),
    "the header is matched as it came": guard(
        "authorization.py",
        'environ.get("HTTP_AUTHORIZATION")',
        '(environ.get("HTTP_AUTHORIZATION") or "").strip()',
        HEADERS + "[ Bearer <good>-expected10]",
    ),
    "a credential has a length": guard(
        "authentication.py",
        "len(match[1]) <= _CREDENTIAL_MAX",
        "True",
        HEADERS + "[header24-expected24]",
        HEADERS + "[header25-expected25]",
    ),
    "no key is no key": guard(
        "authentication.py",
        "        if text is None:\n            if optional:",
        "        if text is None:\n            if True:",
        HEADERS,
    ),
    "optional is for credentials of others only": guard(
        "authentication.py",
        "if optional and not text.startswith(self._prefix):",
        "if optional:",
        AUTHENTICATION + "test_optional_leaves_other_credentials_to_others",
    ),
    # -- the key
    "the checksum": guard(
        "authentication.py", "if not has_good_checksum(text):", "if False:", TOLD + "[bad_checksum-bad_checksum]"
    ),
    "a key that there is not": guard(
        "authentication.py",
        "        if row is None:\n",
        "        if row is None:\n            return None\n",
        TOLD + "[unknown-unknown]",
    ),
    "the HMAC": guard(
        "authentication.py",
        "if not self._hasher.verify(key_id, text, digest):",
        "if False:",
        TOLD + "[wrong_secret-wrong_secret]",
    ),
    "the HMAC is of the whole text, prefix included": guard(
        "authentication.py",
        "self._hasher.verify(key_id, text, digest)",
        'self._hasher.verify(key_id, (of := f"{row[4]}_{text[-51:-6]}")'
        ' + __import__("flask_archie_keys.domain.keytext").domain.keytext.checksum(of), digest)',
        TOLD + "[other_prefix-wrong_secret]",
    ),
    "the HMAC is of the key id": guard(
        "domain/hashing.py",
        'mac.update(f"{key_id}\\0{text}".encode())',
        "mac.update(f\"{text.split('_')[-2]}\\0{text}\".encode())",
        "tests/domain/test_hashing.py::test_a_digest_verifies_its_own_text_only",
    ),
    "the key of the HMAC is of the environment": guard(
        "domain/hashing.py",
        "digest\\0{project}\\0{environment}",
        "digest\\0{project}",
        AUTHENTICATION + "test_a_key_of_one_environment_is_worthless_in_another_by_cryptography",
    ),
    "the project": guard(
        "authentication.py",
        "if project != self._project or environment != self._environment:",
        "if environment != self._environment:",
        TOLD + "[wrong_project-wrong_environment]",
    ),
    "the environment": guard(
        "authentication.py",
        "if project != self._project or environment != self._environment:",
        "if project != self._project:",
        TOLD + "[wrong_environment-wrong_environment]",
    ),
    "a digest that was erased": guard(
        "authentication.py", "if digest is None:", "if False:", TOLD + "[deleted-deleted]"
    ),
    "a digest without pepper where there are peppers": guard(
        "domain/hashing.py",
        'for_peppers(list(peppers) or [""],',
        'for_peppers(["", *peppers],',
        "tests/domain/test_hashing.py::test_without_the_pepper_a_digest_cannot_be_made",
    ),
    "foreign schemes are off unless named": guard(
        "domain/hashing.py",
        "schemes=[self._handler, *import_schemes]",
        'schemes=[self._handler, *import_schemes, "pbkdf2_sha256"]',
        "tests/test_foreign_digests.py::test_a_foreign_digest_is_not_accepted_unless_its_scheme_is_named",
    ),
    "a malformed foreign digest": guard(
        "domain/hashing.py",
        "except (ValueError, TypeError):",
        "except KeyError:",
        "tests/test_foreign_digests.py::test_a_malformed_digest_is_a_key_that_is_not_good[7]",
    ),
    "one answer for every bad key": guard(
        "authentication.py",
        'Unauthorized(BAD_KEY, reason="wrong_secret", key_id=key_id)',
        'Unauthorized("the secret is wrong", reason="wrong_secret", key_id=key_id)',
        TOLD + "[wrong_secret-wrong_secret]",
    ),
    # -- its state
    "deleted": guard(
        "authentication.py", "if deleted_at is not None:", "if False:", TOLD + "[deleted_by_hand-deleted]"
    ),
    "disabled": guard("authentication.py", "if disabled_at is not None:", "if False:", TOLD + "[disabled-disabled]"),
    "expired": guard("authentication.py", "expires_at <= now:", "False:", TOLD + "[expired-expired]"),
    "what may stand against a key is looked at": guard(
        "authentication.py", "if verified.conditional:", "if False:", TOLD + "[expired-expired]"
    ),
    "networks may stand against a key": guard(
        "authentication.py",
        "row[8:12] != (None, None, None, None)",
        "row[9:12] != (None, None, None)",
        NETWORKS + "[networks1-11.1.2.3-403]",
    ),
    "a row is read at each request": guard(
        "authentication.py",
        "self._lookup.read(verified.key_id) != verified.row",
        "False",
        AUTHENTICATION + "test_changes_hold_at_the_very_next_request",
    ),
    "an SQLite row is read again after a commit": guard(
        "store/lookup.py",
        "if version == kept.version:",
        "if True:",
        AUTHENTICATION + "test_changes_hold_at_the_very_next_request",
    ),
    "the network": guard(
        "authentication.py",
        "not _within(remote_address, networks)",
        "False",
        NETWORKS + "[networks1-11.1.2.3-403]",
    ),
    "what is no address is in no network": guard(
        "authentication.py",
        "    except ValueError:\n        return False",
        "    except ValueError:\n        return True",
        NETWORKS + "[networks8-unix:-403]",
    ),
    "IPv4 in IPv6": guard(
        "authentication.py",
        "address.ipv4_mapped is not None:",
        "False:",
        NETWORKS + "[networks2-::ffff:10.1.2.3-200]",
    ),
    # -- what a view asks for
    "any role": guard(
        "domain/permissions.py",
        "not frozenset(self.roles).isdisjoint(held)",
        "True",
        AUTHORIZATION + "test_every_kind_of_view[sync]",
    ),
    "all roles": guard(
        "domain/permissions.py",
        "all(role in held for role in self.roles)",
        "any(role in held for role in self.roles)",
        AUTHENTICATION + "test_a_missing_role_names_what_is_needed",
    ),
    "all of no roles": guard(
        "domain/permissions.py", "bool(self.roles) and all(", "all(", "tests/domain/test_permissions.py"
    ),
    "no roles are not any roles": guard(
        "authorization.py", "    if not roles:", "    if False:", AUTHORIZATION + "test_wrong_arguments"
    ),
    "the first check's verdict": guard(
        "authorization.py",
        "            raise forbidden(decision, principal)",
        "            pass",
        AUTHORIZATION + "test_every_kind_of_view[sync]",
    ),
    "further checks' verdicts": guard(
        "authorization.py",
        "raise forbidden(decision, checked.principal)",
        "return None",
        AUTHORIZATION + "test_guard_and_decorator_both_hold_and_make_one_event",
    ),
    "OPTIONS that a view answers": guard(
        "authorization.py",
        'if automatic and request.method == "OPTIONS"',
        'if request.method == "OPTIONS"',
        AUTHORIZATION + "test_automatic_options_pass_a_guard_and_an_options_view_does_not",
    ),
    "the order of decorators": guard(
        "guarded_views.py",
        "    if wrong:\n",
        "    if False:\n",
        AUTHORIZATION + "test_a_decorator_above_the_route_is_refused_and_not_silently_open[above_route]",
    ),
    # -- what must work for a view to run
    "a store that cannot be read is no bad key": guard(
        "store/lookup.py",
        'raise StoreUnavailable("the key store cannot be read") from error',
        "return None",
        AUTHENTICATION + "test_a_store_that_cannot_be_read_is_503_and_not_401",
    ),
    "one time-out of a locked file": guard(
        "store/lookup.py",
        "if is_locked(error):",
        "if False:",
        "tests/store/test_locks.py::test_a_request_waits_for_one_time_out_and_not_for_one_of_each_kept_connection",
    ),
    "an event before the view": guard(
        "authorization.py",
        "    if environment.config.audit.enabled:\n        details = None\n",
        "    if False:\n        details = None\n",
        AUTHORIZATION + "test_the_event_is_there_before_the_view_runs",
    ),
    "no event, no view": guard(
        "audit/spool.py",
        'if self._config.on_failure == "closed":',
        "if False:",
        SPOOL + "test_what_a_request_gets_when_its_event_cannot_be_written[closed-503]",
    ),
    # -- making and changing keys
    "keys of one project and environment": guard(
        "store/keys.py",
        "keys.c.project == project, keys.c.environment == environment",
        "keys.c.project == keys.c.project, keys.c.environment == keys.c.environment",
        KEYS + "test_keys_of_other_projects_and_environments_are_not_there[sqlite]",
    ),
    "a time without its zone": guard(
        "domain/rules.py",
        "    if value.utcoffset() is None:",
        "    if False:",
        "tests/domain/test_rules.py",
    ),
    "an expiry in the past": guard(
        "domain/rules.py", "    if end <= now:", "    if False:", "tests/domain/test_rules.py"
    ),
    "roles that there are not": guard(
        "domain/rules.py",
        "    if unknown:",
        "    if False:",
        KEYS + "test_roles_named_by_views_and_by_the_settings_are_known[sqlite]",
    ),
    "an empty list of networks": guard(
        "domain/rules.py", "    if not networks:", "    if False:", "tests/domain/test_rules.py"
    ),
    "MAX_AGE is the most": guard(
        "domain/rules.py",
        "if latest is not None and end > latest:",
        "if False:",
        KEYS + "test_max_age_is_the_default_and_the_most[sqlite]",
    ),
    "MAX_AGE needs an expiry": guard(
        "domain/rules.py",
        "        if latest is not None:\n",
        "        if False:\n",
        KEYS + "test_max_age_is_the_default_and_the_most[sqlite]",
    ),
    "MAX_AGE is the default": guard(
        "services/keys.py",
        "if expires_at is None:",
        "if False:",
        KEYS + "test_max_age_is_the_default_and_the_most[sqlite]",
    ),
    "MAX_AGE of a successor": guard(
        "services/drafts.py",
        "lifetime = longest if lifetime is None else min(lifetime, longest)",
        "pass",
        KEYS + "test_max_age_bounds_a_successor[sqlite]",
    ),
    # -- rotation
    "a key is rotated once": guard(
        "services/keys.py",
        "                table.c.replaced_by.is_(None),\n",
        "",
        KEYS + "test_dead_and_rotated_keys_cannot_be_rotated[sqlite-rotated]",
    ),
    "a disabled key is not rotated": guard(
        "services/keys.py",
        "                is_alive(now),\n",
        "",
        KEYS + "test_dead_and_rotated_keys_cannot_be_rotated[sqlite-disabled]",
    ),
    "an overlap ends a life": guard(
        "services/keys.py",
        "(table.c.expires_at > end, literal(end)),",
        "(table.c.expires_at > end, table.c.expires_at),",
        "tests/services/test_bounds.py::test_the_longest_overlap_ends_before_the_calendar_does[sqlite]",
    ),
    "an overlap never lengthens a life": guard(
        "services/keys.py",
        "else_=table.c.expires_at,",
        "else_=literal(end),",
        KEYS + "test_an_overlap_never_lengthens_a_life[sqlite]",
    ),
    "a rotation without an overlap": guard(
        "services/keys.py",
        "(table.c.expires_at.is_(None), literal(end)),",
        "(table.c.expires_at.is_(None), table.c.expires_at + literal(end)),",
        KEYS + "test_the_overlap_of_the_settings_and_none_at_all[sqlite]",
    ),
    "the lock of a row": guard(
        "store/keys.py",
        "        if lock:",
        "        if False:",
        "tests/services/test_races.py::test_an_update_that_races_a_rotation_does_not_revive_the_old_key[postgresql]",
    ),
    "the lock of a file": guard(
        "store/database.py",
        '_until(deadline, connection, "BEGIN IMMEDIATE")',
        '_until(deadline, connection, "BEGIN")',
        "tests/services/test_races.py::test_of_many_deletions_at_once_one_is_recorded[sqlite]",
        "tests/store/test_database.py::test_a_writer_that_read_first_is_not_refused",
    ),
    # -- updates
    "the version": guard(
        "services/keys.py",
        'if version is not None and row["version"] != version:',
        "if False:",
        KEYS + "test_a_stale_version_changes_nothing[sqlite]",
    ),
    "a deleted key is not changed": guard(
        "services/keys.py",
        "raise Conflict(f\"the key {row['id']} is deleted\")",
        "pass",
        KEYS + "test_a_deleted_key_never_comes_back[sqlite-update]",
    ),
    "a rotated key is only shortened": guard(
        "services/keys.py",
        'if row["replaced_by"] is not None and (',
        "if False and (",
        KEYS + "test_a_rotated_key_can_only_be_shortened[sqlite]",
    ),
    "an expired key does not come back": guard(
        "services/keys.py",
        'if row["expires_at"] is not None and row["expires_at"] <= now:',
        "if False:",
        KEYS + "test_an_expired_key_does_not_come_back[sqlite]",
    ),
    "fields that cannot be changed": guard(
        "services/keys.py",
        "        if fields:\n",
        "        if False:\n",
        KEYS + "test_fields_that_cannot_be_changed[sqlite-digest]",
    ),
    # -- the end
    "deleting erases the digest": guard(
        "services/keys.py",
        '{"deleted_at": now, "digest": None}',
        '{"deleted_at": now}',
        KEYS + "test_deleting_erases_the_digest_and_keeps_the_record[sqlite]",
    ),
    "only if quiet": guard(
        "services/keys.py",
        "if not traffic.safe_to_delete:",
        "if False:",
        KEYS + "test_only_if_quiet_refuses_a_key_in_use[sqlite]",
    ),
    "a host that is writing": guard(
        "store/database.py",
        "if self._host_is_writing(self.engine):",
        "if self._host_is_writing(self.engine) and False:",
        KEYS + "test_on_sqlite_a_host_that_is_writing_is_told_at_once",
    ),
    # -- the audit
    "a refusal is no use": guard(
        "audit/drain.py",
        'row["outcome"] in store.USES',
        "True",
        DRAIN + "test_refused_requests_are_no_use_of_a_key[sqlite]",
    ),
    "last used goes forward only": guard(
        "store/audit.py",
        'keys.c.last_used_at < bindparam("used_at")',
        'keys.c.last_used_at != bindparam("used_at")',
        DRAIN + "test_last_used_comes_from_the_drain_and_goes_forward_only[sqlite]",
    ),
    "no links for the spool file": guard(
        "audit/spool.py",
        "os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW",
        "os.O_CLOEXEC",
        SPOOL + "test_a_link_in_the_place_of_the_file_is_not_followed",
    ),
    "no links for the drainer": guard(
        "audit/drain.py",
        "os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW",
        "os.O_RDONLY | os.O_CLOEXEC",
        DRAIN + "test_links_in_the_spool_are_not_followed[sqlite]",
    ),
    "the mode of the spool file": guard(
        "audit/spool.py", "_FLAGS, 0o600)", "_FLAGS, 0o644)", SPOOL + "test_the_file_is_its_owners_alone"
    ),
    "the mode of the spool folder": guard(
        "audit/spool.py", "mkdir(mode=0o700,", "mkdir(mode=0o755,", SPOOL + "test_the_file_is_its_owners_alone"
    ),
    "a spool folder that is open to others": guard(
        "audit/spool.py",
        "if found.st_mode & 0o077:",
        "if False:",
        SPOOL + "test_an_unsafe_folder_is_refused[open to others]",
    ),
    "a link to a spool folder": guard(
        "audit/spool.py",
        "found = directory.lstat()",
        "found = directory.stat()",
        SPOOL + "test_an_unsafe_folder_is_refused[link]",
    ),
    "a bound for the spool": guard(
        "audit/spool.py",
        "        if self._full:\n",
        "        if False:\n",
        SPOOL + "test_a_full_spool_is_refused_until_it_is_drained",
    ),
    "an event is stored once": guard(
        "store/audit.py",
        'VALUES ({places}) ON CONFLICT DO NOTHING"',
        'VALUES ({places})"',
        "tests/audit/test_again.py::test_lines_that_are_there_already_are_no_poison[sqlite]",
    ),
    "an event that is there gets its ending": guard(
        "store/audit.py",
        "if rows and _insert_new(connection, rows) < len(rows):",
        "if rows and _insert_new(connection, rows) < 0:",
        DRAIN + "test_a_crash_between_two_batches_loses_and_doubles_nothing[sqlite]",
    ),
    "one drainer at a time": guard(
        "audit/drain.py",
        "yield _locked(lock, wait)",
        "yield True",
        DRAIN + "test_one_drainer_at_a_time[sqlite]",
    ),
    "a writer that is at it": guard(
        "audit/drain.py",
        "writer_is_gone = _locked(fd, 0)",
        "writer_is_gone = True",
        DRAIN + "test_a_torn_last_line_waits_for_a_live_writer[sqlite]",
    ),
    "poison is kept": guard(
        "audit/drain.py",
        "self._quarantine(line, str(error), done)",
        "pass",
        DRAIN + "test_poison_is_quarantined_counted_and_blocks_nothing[sqlite-0]",
    ),
    "half a line is kept": guard(
        "audit/drain.py",
        'self._quarantine(chunk, "not a whole line", done)',
        "pass",
        DRAIN + "test_a_torn_last_line_of_a_dead_writer_is_quarantined[sqlite]",
    ),
    "a flood is bounded": guard(
        "audit/flood.py",
        "own = self._seen <= self._per_second",
        "own = True",
        "tests/audit/test_flood.py::test_a_flood_of_bad_keys_stays_bounded_with_right_counts",
    ),
    "what a flood has lost is counted": guard(
        "audit/spool.py",
        "self.dropped += count",
        "self.dropped += 1",
        "tests/audit/test_dropped.py::test_every_request_of_a_flood_that_is_lost_is_counted",
    ),
    "no secrets in the spool": guard(
        "audit/event.py",
        "                value = redact(value)\n",
        "",
        AUTHENTICATION + "test_a_key_in_the_path_or_the_user_agent_is_not_written_down",
    ),
    "no secrets in the events of changes": guard(
        "audit/event.py",
        "clean(redact(value)[:longest])",
        "clean(value[:longest])",
        "tests/services/test_hostile_requests.py::"
        "test_a_key_in_the_headers_of_such_a_request_is_not_written_down[sqlite]",
    ),
    # -- cursors
    "the signature of a cursor": guard(
        "domain/cursors.py",
        "self._serializer.loads(cursor)",
        "self._serializer.loads_unsafe(cursor)[1]",
        "tests/domain/test_cursors.py",
    ),
    "the list of a cursor": guard("domain/cursors.py", "value[0] == of", "value[0]", "tests/domain/test_cursors.py"),
    # -- roles, grants and row filters
    "a role's name is not its grant": guard(
        "permissions/access.py",
        'return Denied("missing_grant", scope, whys[0]) if all(whys) else decision',
        "return decision",
        GRANTS + "test_a_filter_without_its_variable_denies_and_the_log_says_why",
    ),
    "roles and grant together": guard(
        "context.py",
        "if requirement.resource is None or isinstance(decision, Denied):",
        "if requirement.resource is None or decision:",
        GRANTS + "test_roles_and_grant_are_both_needed_where_both_are_given",
    ),
    "the epoch that was read with the key": guard(
        "permissions/roles.py",
        "if known is None or epoch != known.epoch:",
        "if known is None:",
        GRANTS + "test_a_change_of_a_role_holds_at_the_next_request",
    ),
    "only what is granted is granted": guard(
        "domain/permissions.py",
        "getattr(grant, action) is True",
        "True",
        "tests/permissions/test_roles.py::test_one_action_is_not_the_other",
    ),
    "no role that the maker lacks": guard(
        "permissions/ceiling.py", "    if foreign:\n", "    if False:\n", CEILING + "test_what_goes_beyond"
    ),
    "no end that is later": guard(
        "permissions/ceiling.py",
        "if latest is not None and",
        "if False and",
        CEILING + "test_the_end_is_no_later",
    ),
    "1 is not true": guard(
        "permissions/ceiling.py",
        "return type(one) is type(other) and one == other",
        "return one == other",
        "tests/services/test_ceiling.py::test_values_that_are_only_equal_are_others",
    ),
    "a key does not change itself": guard(
        "services/authority.py",
        "and self.actor.id == key_id:",
        "and False:",
        "tests/services/test_ceiling.py::test_a_key_does_not_change_itself",
    ),
    "a role that goes beyond": guard(
        "permissions/ceiling.py",
        "if not any(_covers(h.filter, grant.filter) for h in own):",
        "if False:",
        CEILING + "test_a_grant_that_is_not_covered",
    ),
    "a context that fits": guard(
        "services/keys.py",
        "            raise ValidationFailed(wrong)",
        "            pass",
        "tests/services/test_fits.py::test_a_key_is_made_with_what_its_roles_need_or_not_at_all",
    ),
    "keys keep their roles": guard(
        "services/roles.py",
        "if holders and not take_from_keys:",
        "if False:",
        "tests/services/test_roles.py::test_a_role_that_keys_have_is_not_deleted",
    ),
    "a block is of its request": guard(
        "context.py",
        "if block is not None and block.request is req",
        "if block is not None",
        "tests/test_users.py::test_a_request_inside_a_block_is_a_request_like_any_other",
    ),
    "an empty filter is a mistake": guard(
        "permissions/authzen.py",
        'if "filter" not in context:',
        'if not context.get("filter"):',
        "tests/permissions/test_authzen.py::test_anything_else_is_no_answer",
    ),
    "the way out is written down": guard(
        "audit/log.py",
        "self.spool.insist(line)",
        "self.spool.write(line)",
        "tests/audit/test_noted.py::test_what_cannot_be_noted_must_not_be_done",
    ),
    "a note is no use of a key": guard(
        "audit/drain.py",
        'row["kind"] == "request" and ',
        "",
        "tests/audit/test_noted.py::test_a_note_is_no_use_of_a_key[sqlite]",
    ),
    # -- GraphQL
    "a document is measured": guard(
        "faces/graphql/execution.py",
        "        limits.check(document, introspection=introspection)\n",
        "",
        HOSTILE + "[aliases]",
    ),
    "a document has a length": guard(
        "faces/graphql/execution.py", "if len(query) > limits.LENGTH_MAX:", "if False:", HOSTILE + "[blanks]"
    ),
    "a document has so many tokens": guard(
        "faces/graphql/execution.py", "parse(query, max_tokens=limits.TOKENS_MAX)", "parse(query)", HOSTILE + "[tokens]"
    ),
    "fragments count as often as they are spread": guard(
        "faces/graphql/limits.py",
        "            self._collect(self._fragments[name].selection_set, found, (*spread, name))",
        "            pass",
        HOSTILE + "[fragments that double]",
    ),
    "fragments that nobody spreads are measured, too": guard(
        "faces/graphql/limits.py",
        "            if name not in self._reached:",
        "            if False:",
        HOSTILE + "[fragments that double, which nobody spreads]",
    ),
    "a fragment cannot stand behind another one": guard(
        "faces/graphql/limits.py",
        "if len(self._fragments) < len(fragments):",
        "if False:",
        HOSTILE + "[a fragment behind another one of its name]",
    ),
    "fields that are merged are counted": guard(
        "faces/graphql/limits.py",
        'self._spend("repeated fields", len(nodes) - 1)',
        "pass",
        HOSTILE + "[fields that are merged]",
    ),
    "aliases are counted": guard(
        "faces/graphql/limits.py",
        'self._spend("aliases", 0 if node.alias is None else 1)',
        "pass",
        HOSTILE + "[aliases further down]",
    ),
    "one request makes so many changes": guard(
        "faces/graphql/limits.py",
        "if calls > CALLS_MAX:",
        "if False:",
        GRAPHQL + "test_operations.py::test_no_more_than_ten_changes_in_one_request",
    ),
    "variables are counted": guard(
        "faces/graphql/execution.py",
        "    limits.check_variables(variables)\n",
        "",
        GRAPHQL + "test_limits.py::test_variables_are_counted_before_they_are_looked_at",
    ),
    "introspection is off": guard(
        "faces/graphql/limits.py",
        "if names & _INTROSPECTION and not self._introspection:",
        "if False:",
        GRAPHQL + "test_limits.py::test_introspection_is_off",
    ),
    "lists of the schema do not multiply": guard(
        "faces/graphql/limits.py",
        'if lists and within == "list":',
        "if False:",
        GRAPHQL + "test_limits.py::test_introspection_does_not_multiply",
    ),
    "an exception says nothing": guard(
        "faces/graphql/execution.py",
        "return problems.body(_FAILED)",
        "return problems.body(ServiceError(str(original)))",
        GRAPHQL + "test_requests.py::test_what_was_not_expected_is_one_general_error_and_is_logged",
    ),
    "a refusal inside is in the audit log": guard(
        "faces/graphql/execution.py",
        "        note_denied(original)\n",
        "",
        GRAPHQL + "test_operations.py::test_each_field_needs_its_grant_and_a_refusal_is_in_the_audit_log",
    ),
    "a header is not for one of many changes": guard(
        "faces/graphql/__init__.py",
        "if header in request.headers:",
        "if False:",
        GRAPHQL + "test_requests.py::test_parameters_and_headers_that_would_say_something_else",
    ),
    "variables are those of the operation": guard(
        "faces/graphql/execution.py",
        "        if name not in known:",
        "        if False:",
        GRAPHQL + "test_requests.py::test_what_cannot_be_executed_is_a_bad_request",
    ),
    # -- the client
    "a key is for one origin": guard(
        "client/auth.py",
        "if origin != self._origin:",
        "if False:",
        CLIENT + "test_auth.py::test_it_goes_to_its_origin_only",
    ),
    "a key is not sent in the clear": guard(
        "client/auth.py",
        'if url.scheme != "https" and not allow_http and not _is_loopback(url.host):',
        "if False:",
        CLIENT + "test_auth.py::test_it_is_not_sent_in_the_clear",
    ),
    "redirects are not followed": guard(
        "client/clients.py",
        '"follow_redirects": False,',
        '"follow_redirects": True,',
        CLIENT + "test_answers.py::test_a_redirect_says_where_it_would_go_and_is_not_followed",
    ),
    "the client keeps no cookies": guard(
        "client/clients.py",
        "CookieJar(DefaultCookiePolicy(allowed_domains=[]))",
        "CookieJar()",
        CLIENT + "test_answers.py::test_cookies_are_not_kept",
    ),
    "what is no id is no path": guard(
        "client/calls.py",
        "if not isinstance(key_id, str) or not is_key_id(key_id):",
        "if False:",
        CLIENT + "test_operations.py::test_what_cannot_be_an_id_or_a_name_is_never_sent",
    ),
    "only what is safe is sent again": guard(
        "client/attempts.py",
        "again = call.repeatable and sent < retries",
        "again = sent < retries",
        CLIENT + "test_retries.py::test_what_is_not_is_sent_once",
    ),
    "a key is made with an idempotency key": guard(
        "client/calls.py",
        'return {"Idempotency-Key": checked(secrets.token_urlsafe(24) if value is None else value)}',
        "return {}",
        CLIENT + "test_retries.py::test_a_lost_answer_makes_no_second_key",
    ),
    "an error holds no request": guard(
        "client/attempts.py",
        "                raise no_answer(call, outcome, lost=lost)",
        "                raise no_answer(call, outcome, lost=lost) from outcome",
        CLIENT + "test_answers.py::test_the_key_goes_nowhere_in_errors_and_reprs",
    ),
    "only a line feed ends a line": guard(
        "client/lines.py",
        r'(self._rest + chunk).split(b"\n")',
        '[line.encode() for line in (self._rest + chunk).decode().splitlines()] + [b""]',
        CLIENT + "test_answers.py::test_only_a_line_feed_ends_a_line",
    ),
    "the shape of a new key hides its secret": guard(
        "faces/schemas.py",
        "def __repr__(self) -> str:",
        "def shown(self) -> str:",
        "tests/faces/test_schemas.py::test_only_a_new_key_has_a_secret",
    ),
    # -- the management API
    "nobody gets into the API": guard(
        "faces/api/__init__.py",
        "turned_away = access.admit()",
        "turned_away = None",
        API + "test_access.py::test_nobody_never_acts_as_the_system",
    ),
    "a user's change needs a token": guard(
        "faces/api/access.py",
        "if request.method not in _SAFE:",
        "if False:",
        API + "test_access.py::test_a_users_change_needs_a_token",
    ),
    "a key and a session at once": guard(
        "faces/api/access.py",
        "    if has_key:\n",
        "    if False:\n",
        API + "test_access.py::test_a_key_and_a_session_at_once_are_refused",
    ),
    "a protection of the host spares keys": guard(
        "faces/api/access.py",
        "protect.exempt(blueprint)",
        "pass",
        API + "test_access.py::test_a_protection_of_the_host_spares_our_routes_and_no_other",
    ),
    "no answer is kept by caches": guard(
        "faces/api/__init__.py",
        "    blueprint.after_request(_not_kept)\n",
        "",
        API + "test_access.py::test_who_is_not_let_in_learns_of_no_method_no_parameter_and_no_body",
    ),
    "a change of a key is for a version": guard(
        "faces/api/requests.py",
        "        if required:\n",
        "        if False:\n",
        API + "test_keys.py::test_patch_is_for_one_version",
    ),
    "a parameter is not null": guard(
        "faces/api/requests.py",
        "getattr(query, field.name) is None",
        "False",
        API + "test_keys.py::test_a_wrong_query_is_a_bad_request",
    ),
    "a body without a length is bounded": guard(
        "faces/api/requests.py",
        "if len(content) > BODY_MAX:",
        "if False:",
        API + "test_bodies.py::test_a_body_without_a_length_is_read_to_its_bound",
    ),
    "a compressed body": guard(
        "faces/api/requests.py", 'if "Content-Encoding" in request.headers:', "if False:", BODIES
    ),
    "a body in UTF-16": guard("faces/api/requests.py", ' or charset not in ("utf-8", "utf8")', "", BODIES),
    "a member twice": guard("faces/json_input.py", "if len(members) != len(pairs):", "if False:", BODIES),
    "a number that is not finite": guard("faces/json_input.py", "parse_constant=_no_constant,", "", BODIES),
    "a lone surrogate": guard("faces/json_input.py", "if _SURROGATE.search(value):", "if False:", BODIES),
    "a number without an end": guard("faces/json_input.py", "if len(digits) > _DIGITS_MAX:", "if False:", BODIES),
    "brackets without an end": guard("faces/json_input.py", "except RecursionError:", "except ImportError:", BODIES),
    "a formula in a spreadsheet": guard(
        "faces/exports.py",
        "value.startswith(_FORMULA)",
        "False",
        API + "test_audit.py::test_csv_has_a_line_an_event_and_no_formula",
    ),
    "one request makes one key on PostgreSQL": guard(
        "store/inserts.py",
        "statement.execution_options(preserve_rowcount=True)",
        "statement",
        API + "test_once.py::test_32_calls_at_the_same_time_make_one_key[postgresql-create]",
    ),
    "one request makes one key": guard(
        "services/once.py",
        "if not self._store.add(",
        "if self._store.add(",
        API + "test_once.py::test_a_replay_is_told_which_key_was_made_and_never_its_secret",
    ),
}


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONPATH", None)
    with subprocess.Popen(
        [sys.executable, ROOT / "tests" / "support" / "forks.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all, compiled, so that only the file without its guard is compiled again."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("flask_archie_keys", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", folder)
    assert compileall.compile_dir(folder / "flask_archie_keys", quiet=2)
    return folder


def run(forks: subprocess.Popen[str], whole: Path, folder: Path, guard: Guard) -> tuple[int, str]:
    """The exit code and the output of the named tests, with a copy of the package that lacks the guard."""
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    file = folder / "flask_archie_keys" / guard.file
    source = file.read_text()
    assert source.count(guard.text) == 1, f"{guard.text!r} stands {source.count(guard.text)} times in {guard.file}"
    file.write_text(source.replace(guard.text, guard.instead))
    compile(file.read_text(), guard.file, "exec")
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:unraisableexception",
        f"--basetemp={folder / 'temporary'}",
    ]
    output = folder / "output"
    assert forks.stdin is not None and forks.stdout is not None
    print(json.dumps([str(folder), str(output), [*options, *guard.tests]]), file=forks.stdin, flush=True)
    return int(forks.stdout.readline()), output.read_text()


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_is_needed(forks: subprocess.Popen[str], whole: Path, tmp_path: Path, name: str) -> None:
    code, output = run(forks, whole, tmp_path, GUARDS[name])
    assert code == 1, f"exit {code}: {output[-3000:]}"
    summary = output.splitlines()[-1]
    assert re.search(r"\b1 failed\b", summary) and "error" not in summary, output[-3000:]
