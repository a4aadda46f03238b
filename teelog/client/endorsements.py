"""What a verifier needs from AMD or Intel to judge evidence offline, fetched once and kept in a folder.

No server is believed: what came is checked against the evidence and the pinned roots before it is written, and a file
that is there is used only if it passes the same check. URLs are made from the evidence's own bounded fields, on a host
that is fixed here or that the caller names; none is taken from evidence or from an answer (A-16).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from teelog import durable
from teelog.client import kds, pccs
from teelog.client.http import HttpClient, check_url
from teelog.errors import NotEstablished, RefusedError, TeelogError, UnavailableError
from teelog.evidence.dcap import roots as intel
from teelog.evidence.dcap import verify as quotes
from teelog.evidence.dcap.evidence import Quoted
from teelog.evidence.dcap.quote import Quote
from teelog.evidence.platform import Evidence, Roots
from teelog.evidence.sev_snp import SevSnp, endorsement
from teelog.evidence.sev_snp import roots as amd
from teelog.evidence.sev_snp.report import Report


@dataclass(frozen=True, slots=True)
class Kept:
    """One file. fetched: it came now; else it was there, and still holds."""

    path: Path
    fetched: bool


@dataclass(slots=True)
class Found:
    """files: all that were wanted. endorsements: those that the verifier takes. lacking: what nobody can fetch."""

    files: list[Kept] = field(default_factory=list)
    endorsements: list[Path] = field(default_factory=list)
    lacking: str | None = None


@runtime_checkable
class _Hosted(Protocol):
    """Evidence of a guest whose machine has evidence of its own, as on Azure."""

    @property
    def machine(self) -> Evidence: ...


@dataclass(frozen=True, slots=True)
class Fetching:
    """now: POSIX seconds. roots: in place of the vendor's. url: of another server than the vendor's.

    given: endorsements that the caller has already. again: fetch also what is there.
    """

    http: HttpClient
    folder: Path
    now: int
    roots: Roots | None = None
    url: str | None = None
    given: Sequence[bytes] = ()
    again: bool = False

    async def fetch(self, evidence: Evidence) -> Found:
        """Everything for ``evidence``; what was written before a failure stays and is used next time.

        Raises NotEstablished (nothing can be fetched for it), RefusedError, UnavailableError, VerificationError,
        MalformedError, ConfigError (url).
        """
        machine = evidence.machine if isinstance(evidence, _Hosted) else evidence
        if not isinstance(machine, SevSnp | Quoted):
            raise NotEstablished(
                f"nothing is fetched for {evidence.platform}",
                expected="evidence of sev-snp, tdx, sgx or azure",
                hint="teelog evidence verify FILE: what it needs comes with the evidence or from its maker",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnavailableError(f"cannot make {self.folder}", actual=error.strerror) from error
        if isinstance(machine, SevSnp):
            return await self._amd(machine.report)
        return await self._intel(machine.quote)

    async def _intel(self, quote: Quote) -> Found:
        roots, asked, found = self.roots or intel.shipped(), pccs.wanted(quote), Found()
        url = None if self.url is None else check_url(self.url)

        def check(data: bytes) -> None:
            quotes.check_collateral(quote, data, self.now, roots)

        await self._keep(found, asked.name, pccs.MAX_COLLATERAL, check, lambda: pccs.collateral(self.http, asked, url))
        found.endorsements = [found.files[0].path]
        return found

    async def _amd(self, report: Report) -> Found:
        refusal: RefusedError | None = None
        for product in kds.products(report):
            try:
                return await self._product(report, product)
            except RefusedError as error:  # a service that does not know this chip in this product
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    async def _product(self, report: Report, product: str) -> Found:
        roots, kind, found = self.roots or amd.shipped(), kds.kind(report), Found()
        base, name = check_url(self.url or kds.BASE), product.lower()

        def get(path: str, limit: int) -> Callable[[], Awaitable[bytes]]:
            return lambda: self._get(base + path, limit)

        chain = await self._keep(
            found,
            f"amd-{kind}-{name}-chain.pem",
            kds.MAX_FILE,
            lambda data: kds.check_chain(data, kind, product, self.now, roots),
            get(kds.chain_path(kind, product), kds.MAX_FILE),
        )
        revoked = await self._keep(
            found,
            f"amd-{kind}-{name}-revoked.crl",
            kds.MAX_CRL,
            lambda data: kds.check_crl(data, chain, kind, product, self.now, roots),
            get(kds.crl_path(kind, product), kds.MAX_CRL),
        )
        kds.check_not_revoked(revoked, chain, kind, product, roots)
        found.endorsements = [found.files[0].path]
        if self._has_leaf(kind):
            kds.check_leaf(report, [*self.given, chain], self.now, roots)
        elif kind == "vlek":
            found.lacking = "the VLEK certificate: AMD gives it to the cloud alone; get it there (--endorsement FILE)"
        else:
            await self._keep(
                found,
                f"amd-vcek-{name}-{kds.chip(report)[:16]}-{report.reported_tcb}.der".replace(" ", "-"),
                kds.MAX_FILE,
                lambda data: kds.check_leaf(report, [*self.given, data, chain], self.now, roots),
                get(kds.vcek_path(report, product), kds.MAX_FILE),
            )
            found.endorsements.insert(0, found.files[-1].path)
        return found

    def _has_leaf(self, kind: str) -> bool:
        wanted = endorsement.VLEK_NAME if kind == "vlek" else endorsement.VCEK_NAME
        return any(each.common_name == wanted for each in endorsement.certificates_in(self.given))

    async def _get(self, url: str, limit: int) -> bytes:
        return (await self.http.get(url, limit)).body

    async def _keep(
        self,
        found: Found,
        name: str,
        limit: int,
        check: Callable[[bytes], None],
        get: Callable[[], Awaitable[bytes]],
    ) -> bytes:
        """The file's bytes: those that are there if they pass ``check``, else those of ``get``, checked and written."""
        path = self.folder / name
        known = None if self.again else _read(path, limit)
        if known is not None and _passes(known, check):
            found.files.append(Kept(path, False))
            return known
        data = await get()
        if len(data) > limit:
            raise UnavailableError(f"{name} is too long", expected=f"at most {limit} bytes", actual=len(data))
        check(data)
        try:
            durable.replace(path, data)
        except OSError as error:
            raise UnavailableError(f"cannot write {path}", actual=error.strerror) from error
        found.files.append(Kept(path, True))
        return data


def _read(path: Path, limit: int) -> bytes | None:
    """None where there is no file, or none that can be meant."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError(f"cannot read {path}", actual=error.strerror) from error
    return data if len(data) <= limit else None


def _passes(data: bytes, check: Callable[[bytes], None]) -> bool:
    """A file that no longer holds, or never did, is as good as none: it is fetched anew, and that answer judged."""
    try:
        check(data)
    except TeelogError:
        return False
    return True


__all__ = ["Fetching", "Found", "Kept"]
