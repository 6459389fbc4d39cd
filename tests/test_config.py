from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from flask_archie_keys import ConfigurationError
from flask_archie_keys.config import AuditConfig, Config, load, settings


def served(**given: Any) -> Config:
    return next(iter(load({f"ARCHIE_KEYS_{name}": value for name, value in given.items()}).values()))


def test_the_defaults_are_those_of_the_documentation() -> None:
    config = served()
    assert (config.project, config.environment, config.prefix) == ("default", "master", "archie")
    assert (config.peppers, config.max_age, config.bind_key) == ((), None, None)
    assert config.rotation_overlap == timedelta(hours=24)
    assert config.quiet_period == timedelta(minutes=15)
    assert config.max_staleness == timedelta(0)
    assert (config.url_prefix, config.api_prefix) == ("/settings", "/archie/v1")
    assert config.faces == ("pages", "api", "graphql", "cli")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        served().prefix = "x"  # type: ignore[misc]


def test_each_environment_has_its_own_values_and_the_served_one_comes_first() -> None:
    configs = load(
        {
            "ARCHIE_KEYS_PREFIX": "shop",
            "ARCHIE_KEYS_ENVIRONMENT": "staging",
            "ARCHIE_KEYS_ENVIRONMENTS": {"master": {}, "staging": {"PREFIX": "shop_test", "MAX_AGE": timedelta(30)}},
        }
    )
    assert list(configs) == ["staging", "master"]
    assert (configs["master"].prefix, configs["master"].max_age) == ("shop", None)
    assert (configs["staging"].prefix, configs["staging"].max_age) == ("shop_test", timedelta(30))
    assert configs["master"].environments == ("master", "staging")


def test_an_environments_audit_adds_to_the_applications() -> None:
    audit = {"on_failure": "open", "max_record": 2048}
    own = {"master": {}, "staging": {"AUDIT": {"max_record": 1024}}}
    configs = load({"ARCHIE_KEYS_AUDIT": audit, "ARCHIE_KEYS_ENVIRONMENTS": own})
    assert (configs["staging"].audit.on_failure, configs["staging"].audit.max_record) == ("open", 1024)
    assert configs["master"].audit.max_record == 2048


def test_other_settings_of_the_application_are_left_alone() -> None:
    assert load({"SECRET_KEY": "x", "ARCHIE_KEY": 1, 7: 8}) == load({})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PREFX", "a", "ARCHIE_KEYS_PREFX is not a setting; did you mean 'ARCHIE_KEYS_PREFIX'?"),
        ("PREFIX", "Bad_", "ARCHIE_KEYS_PREFIX must be 1 to 32 of a-z"),
        ("PREFIX", None, "ARCHIE_KEYS_PREFIX must be 1 to 32"),
        ("PROJECT", "", "ARCHIE_KEYS_PROJECT must be 1 to 64"),
        ("PROJECT", 'a"b', "ARCHIE_KEYS_PROJECT must be 1 to 64"),
        ("PEPPERS", "x" * 32, "ARCHIE_KEYS_PEPPERS must be a list"),
        ("PEPPERS", ["short"], "ARCHIE_KEYS_PEPPERS must hold strings of 16"),
        ("PEPPERS", [b"x" * 32], "ARCHIE_KEYS_PEPPERS must hold strings"),
        ("PEPPERS", [""], 'ARCHIE_KEYS_PEPPERS must not be [""]'),
        ("PEPPERS", ["x" * 32, "x" * 32], "ARCHIE_KEYS_PEPPERS must not hold a pepper twice"),
        ("MAX_AGE", 90, "ARCHIE_KEYS_MAX_AGE must be a timedelta, not 90"),
        ("MAX_AGE", timedelta(0), "ARCHIE_KEYS_MAX_AGE must be more than zero"),
        ("ROTATION_OVERLAP", timedelta(-1), "ARCHIE_KEYS_ROTATION_OVERLAP must be zero or more"),
        ("MAX_STALENESS", timedelta(hours=1), "ARCHIE_KEYS_MAX_STALENESS must be at most five minutes"),
        ("RATE_LIMIT", "3/second", "ARCHIE_KEYS_RATE_LIMIT has no effect in this version"),
        ("REDIS_URL", "redis://", "ARCHIE_KEYS_REDIS_URL has no effect in this version"),
        ("PERMISSIONS_URL", "", "ARCHIE_KEYS_PERMISSIONS_URL must be a non-empty string"),
        ("PERMISSIONS_TIMEOUT", 2, "ARCHIE_KEYS_PERMISSIONS_TIMEOUT must be a timedelta"),
        ("PERMISSIONS_TIMEOUT", timedelta(0), "ARCHIE_KEYS_PERMISSIONS_TIMEOUT must be from 10 milliseconds"),
        ("ROW_SECURITY", 1, "ARCHIE_KEYS_ROW_SECURITY must be True or False"),
        ("FACES", "cli", "ARCHIE_KEYS_FACES must be a list"),
        ("FACES", ["web"], "ARCHIE_KEYS_FACES must be a list"),
        ("FACES", [["cli"]], "ARCHIE_KEYS_FACES must be a list"),
        ("URL_PREFIX", "settings", "ARCHIE_KEYS_URL_PREFIX must be a path"),
        ("ROLES", ["viewer"], "ARCHIE_KEYS_ROLES must be a mapping"),
        ("ROLES", {"Viewer": {}}, "ARCHIE_KEYS_ROLES names a role 'Viewer'"),
        ("ROLES", {"viewer": None}, "ARCHIE_KEYS_ROLES must give 'viewer' a mapping"),
        ("ROLES", {"viewer": {"grant": []}}, "ARCHIE_KEYS_ROLES must give 'viewer' a mapping"),
        ("ROLES", {"viewer": {"description": 7}}, "ARCHIE_KEYS_ROLES is wrong in the role 'viewer': description must"),
        ("ROLES", {"viewer": {"grants": None}}, "ARCHIE_KEYS_ROLES is wrong in the role 'viewer': grants must be"),
        (
            "ROLES",
            {"viewer": {"grants": [{"resource": "orders", "read": 1}]}},
            "ARCHIE_KEYS_ROLES is wrong in the role 'viewer': grants[0].read must be true or false",
        ),
        (
            "ROLES",
            {"viewer": {"grants": [{"resource": "orders", "read": True, "filter": "a = "}]}},
            "ARCHIE_KEYS_ROLES is wrong in the role 'viewer': grants[0].filter ",
        ),
        ("IMPORT_SCHEMES", "pbkdf2_sha256", "ARCHIE_KEYS_IMPORT_SCHEMES must be a list"),
        ("ENVIRONMENT_HEADER", "", "ARCHIE_KEYS_ENVIRONMENT_HEADER must be the name of a header"),
        ("ENVIRONMENT_HEADER", "Authorization", "ARCHIE_KEYS_ENVIRONMENT_HEADER must be the name of a header"),
        ("ENVIRONMENT_HEADER", "a\n", "ARCHIE_KEYS_ENVIRONMENT_HEADER must be the name of a header"),
        ("prefix", "a", "ARCHIE_KEYS_prefix is not a setting; did you mean 'ARCHIE_KEYS_PREFIX'"),
        ("IMPORT_SCHEMES", ["plaintext"], "ARCHIE_KEYS_IMPORT_SCHEMES must not hold plaintext"),
        ("AUDIT", {"max_spool": 65536}, "must be at most half of"),
        ("ENVIRONMENTS", ["master"], "ARCHIE_KEYS_ENVIRONMENTS must be a mapping"),
        ("ENVIRONMENTS", {}, "ARCHIE_KEYS_ENVIRONMENT is 'master', which is not one of"),
        ("ENVIRONMENTS", {"staging": {}}, "ARCHIE_KEYS_ENVIRONMENT is 'master', which is not one of"),
        ("ENVIRONMENTS", {"master": None}, "ARCHIE_KEYS_ENVIRONMENTS must be a mapping"),
        ("ENVIRONMENTS", {"master": {}, "a b": {}}, "ARCHIE_KEYS_ENVIRONMENTS: the name of an environment must be"),
        ("ENVIRONMENTS", {"master": {"PEPER": 1}}, 'did you mean \'ARCHIE_KEYS_ENVIRONMENTS["master"]["PEPPERS"]\''),
        ("ENVIRONMENTS", {"master": {"PROJECT": "x"}}, "cannot differ between environments; set ARCHIE_KEYS_PROJECT"),
        (
            "ENVIRONMENTS",
            {"master": {"MAX_AGE": 7}},
            'ARCHIE_KEYS_ENVIRONMENTS["master"]["MAX_AGE"] must be a timedelta',
        ),
        ("AUDIT", True, "ARCHIE_KEYS_AUDIT must be a mapping"),
        ("AUDIT", {"retension": 1}, "did you mean 'ARCHIE_KEYS_AUDIT[\"retention\"]'"),
        ("AUDIT", {"enabled": 1}, 'ARCHIE_KEYS_AUDIT["enabled"] must be True or False'),
        ("AUDIT", {"directory": "spool"}, 'ARCHIE_KEYS_AUDIT["directory"] must be an absolute path'),
        ("AUDIT", {"on_failure": "ignore"}, "must be 'closed' or 'open'"),
        ("AUDIT", {"interval": timedelta(0)}, "must be from 10 milliseconds to one hour"),
        ("AUDIT", {"max_record": 10}, "must be a whole number from 1024 to 65536"),
        ("AUDIT", {"max_file": True}, "must be a whole number"),
    ],
)
def test_wrong_settings_are_named_as_they_were_typed(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        served(**{name: value})
    assert message in str(caught.value)


def test_peppers_are_never_shown() -> None:
    assert "q" * 32 not in repr(served(PEPPERS=["q" * 32]))
    with pytest.raises(ConfigurationError) as caught:
        served(PEPPERS=["q" * 32, "short-pepper"])
    assert "qqq" not in str(caught.value) and "short-pepper" not in str(caught.value)


def test_every_setting_says_what_it_is() -> None:
    names = [setting.name for setting in settings()]
    assert names[:3] == ["ARCHIE_KEYS_PROJECT", "ARCHIE_KEYS_ENVIRONMENT", "ARCHIE_KEYS_ENVIRONMENTS"]
    assert len(names) == len(set(names)) == len(dataclasses.fields(Config))
    assert all(setting.help.endswith(".") for of in (Config, AuditConfig) for setting in settings(of))
