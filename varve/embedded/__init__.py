"""PostgreSQL and Redis as children of this process, in a folder of their own: what `varve up` runs without servers."""

from varve.embedded.data_directory import DataDirectory
from varve.embedded.database import create_database_if_absent
from varve.embedded.errors import (
    AlreadyRunning,
    BinariesMissing,
    DataDirectoryInUse,
    DataDirectoryOfAnotherUser,
    DataDirectoryUnreachable,
    DataOfAnotherVersion,
    EmbeddedServicesError,
    PasswordMissing,
    PlatformNotSupported,
    ServerDidNotStart,
    ServiceAccountMissing,
)
from varve.embedded.postgres import PostgresTuning
from varve.embedded.running import running_services
from varve.embedded.services import EmbeddedServices
from varve.embedded.urls import ServiceUrls, urls_of_running_services

__all__ = [
    "AlreadyRunning",
    "BinariesMissing",
    "DataDirectory",
    "DataDirectoryInUse",
    "DataDirectoryOfAnotherUser",
    "DataDirectoryUnreachable",
    "DataOfAnotherVersion",
    "EmbeddedServices",
    "EmbeddedServicesError",
    "PasswordMissing",
    "PlatformNotSupported",
    "PostgresTuning",
    "ServerDidNotStart",
    "ServiceAccountMissing",
    "ServiceUrls",
    "create_database_if_absent",
    "running_services",
    "urls_of_running_services",
]
