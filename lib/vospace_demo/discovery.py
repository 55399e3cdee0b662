"""How a client finds the services: the registry, and each service's list of capabilities."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """One of the two VOSpace services.

    Parameters
    ----------
    name
        First component of its URLs, and its name in the registry.
    authority
        The authority of its node URIs.
    md5
        How its nodes spell their MD5: `bare`, `prefixed` (`md5:<hex>`) or `none`.
    """

    name: str
    authority: str
    md5: str

    @property
    def pages(self) -> bool:
        """Whether it lists in name order, by pages, and redirects to a storage host: Vault, not Cavern."""
        return self.name == "vault"


VAULT, CAVERN = "vault", "arc"

SECURITY_METHODS = (
    "",
    ' standardID="ivo://ivoa.net/sso#tls-with-certificate"',
    ' standardID="ivo://ivoa.net/sso#BasicAA"',
    ' standardID="ivo://ivoa.net/sso#token"',
)

# The ids that vos.EndPoints looks up, and the paths of CADC's own deployments.
CAPABILITIES = {
    "ivo://ivoa.net/std/VOSI#capabilities": "capabilities",
    "ivo://ivoa.net/std/VOSI#availability": "availability",
    "ivo://ivoa.net/std/VOSpace/v2.0#nodes": "nodes",
    "ivo://ivoa.net/std/VOSpace#files-proto": "files",
    "ivo://ivoa.net/std/VOSpace#sync-2.1": "synctrans",
    "ivo://ivoa.net/std/VOSpace/v2.0#transfers": "transfers",
}


#: Those whose address is asked for as it is; to the others a path is added. `canfar data` tells them apart.
WHOLE = ("capabilities", "availability", "synctrans")


def registry(url: str) -> str:
    """Return the registry: under CADC's names, and under those used with LOCAL_VOSPACE_WEBSERVICE."""
    return "".join(
        f"ivo://{owner}/{name} = {url}/{name}/capabilities\n"
        for owner in ("cadc.nrc.ca", "opencadc.org")
        for name in (VAULT, CAVERN)
    )


def capabilities(url: str, service: Service) -> str:
    """Return the VOSI capabilities of a service; cadcutils reads them with the prefix `xsi`."""
    methods = "".join(f"<securityMethod{method}/>" for method in SECURITY_METHODS)
    rows = "\n".join(
        f'<capability standardID="{identifier}"><interface xsi:type="vs:ParamHTTP" role="std">'
        f'<accessURL use="{"full" if path in WHOLE else "base"}">{url}/{service.name}/{path}</accessURL>'
        f"{methods}</interface></capability>"
        for identifier, path in CAPABILITIES.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0"'
        ' xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
        f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n{rows}\n</vosi:capabilities>\n'
    )


AVAILABILITY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<vosi:availability xmlns:vosi="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
    "<vosi:available>true</vosi:available></vosi:availability>\n"
)
