"""Builds the statements that these tests are about; all keys are derived from their names."""

from __future__ import annotations

import hashlib
from typing import Any

from teelog.keys import Algorithm, PrivateKey, private_key_from_seed
from teelog.statement import admit, dsse, log_policy, namespace, release, status
from teelog.statement.dsse import Envelope
from teelog.statement.intoto import Subject
from teelog.statement.namespace import Namespace, NamespacePredicate, Role
from teelog.statement.release import Coverage, Material, ReleasePredicate, Validity, Variant
from teelog.statement.status import Allowed, State, StatusPredicate

LOG = "log.example/tee"
MEASUREMENT = hashlib.sha384(b"a launch digest").hexdigest()
OWNER_ROLES = (Role.OWNER, Role.RELEASE, Role.STATUS)


def key(name: str, algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    return private_key_from_seed(algorithm, hashlib.sha256(name.encode()).digest())


ACME = key("acme")
SECOND = key("second", Algorithm.ML_DSA_44)
BUILD = key("build", Algorithm.ECDSA_P256)
STRANGER = key("stranger")


def held(private: PrivateKey, *roles: Role, until: int | None = None) -> namespace.Key:
    return namespace.Key(private.public.to_pem().decode(), roles, until)


def namespace_predicate(**changes: Any) -> NamespacePredicate:
    members: dict[str, Any] = {
        "namespace": "acme.example",
        "log": LOG,
        "version": 0,
        "prev": None,
        "keys": (held(ACME, *OWNER_ROLES), held(BUILD, Role.RELEASE)),
        "thresholds": {Role.OWNER: 1, Role.RELEASE: 1, Role.STATUS: 1},
    }
    return NamespacePredicate(**members | changes)


def sign(payload: bytes, *signers: PrivateKey) -> Envelope:
    return dsse.sign(dsse.PAYLOAD_TYPE, payload, signers or (ACME,))


def namespace_file(*signers: PrivateKey, **changes: Any) -> bytes:
    return sign(namespace.payload(namespace_predicate(**changes)), *signers).file


def acme(**changes: Any) -> Namespace:
    return admit.check_namespace_v0(admit.classify(namespace_file(**changes)), LOG)


def variant(**changes: Any) -> Variant:
    members: dict[str, Any] = {
        "platform": "sev-snp",
        "when": {"vcpus": 2, "cpu": "EPYC-v4"},
        "registers": {"measurement": MEASUREMENT},
        "require": {"debug": False, "min_tcb": {"bl": 4, "tee": 0, "snp": 23, "ucode": 213}},
    }
    return Variant(**members | changes)


def release_predicate(**changes: Any) -> ReleasePredicate:
    members: dict[str, Any] = {
        "stream": "acme.example/inference/stable",
        "version": "1.4.2",
        "svn": 3,
        "validity": Validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        "variants": (variant(),),
        "coverage": Coverage(("firmware", "kernel", "initrd", "cmdline"), ("acpi",)),
        "materials": (Material("source", "git+https://code.example/acme", {"gitCommit": "ab" * 20}),),
    }
    return ReleasePredicate(**members | changes)


SUBJECT = Subject("disk.img", {"sha256": hashlib.sha256(b"a disk image").hexdigest()})


def release_payload(*subjects: Subject, **changes: Any) -> bytes:
    return release.payload(release_predicate(**changes), subjects or (SUBJECT,))


def release_file(*signers: PrivateKey, **changes: Any) -> bytes:
    return sign(release_payload(**changes), *signers).file


def log_policy_predicate(**changes: Any) -> log_policy.LogPolicyPredicate:
    members: dict[str, Any] = {
        "log": LOG,
        "version": 0,
        "prev": None,
        "operators": (ACME.public.to_pem().decode(),),
        "threshold": 1,
        "admission": log_policy.Admission(raw=False),
    }
    return log_policy.LogPolicyPredicate(**members | changes)


def log_policy_file(*signers: PrivateKey, **changes: Any) -> bytes:
    return sign(log_policy.payload(log_policy_predicate(**changes)), *signers).file


def allowed(*releases: str) -> tuple[Allowed, ...]:
    """Statement ids of releases, all current."""
    return tuple(Allowed(release, State.CURRENT, None) for release in releases)


def status_predicate(**changes: Any) -> StatusPredicate:
    members: dict[str, Any] = {
        "stream": "acme.example/inference/stable",
        "log": LOG,
        "seq": 0,
        "prev": None,
        "reason": "first release",
        "allowed": (),
        "revoked": (),
        "max_age_s": 86_400,
        "next_update": "2026-06-20T00:00:00Z",
    }
    return StatusPredicate(**members | changes)


def status_file(*signers: PrivateKey, **changes: Any) -> bytes:
    return sign(status.payload(status_predicate(**changes)), *signers).file
