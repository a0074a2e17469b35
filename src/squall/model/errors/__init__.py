"""Every error of Squall: one tree, drawn here once.

Error                              SQ-1000
    InternalFailure                SQ-1001
    ExecutionError                 SQ-1002
    FeatureUnavailable             SQ-1003
        ImageStepUnavailable       SQ-1502
    InvalidError                   SQ-1010
        UsageError                 SQ-1020
        ParameterInvalid           SQ-1022
        PythonVersionMismatch      SQ-1207
        ModuleNotMountable         SQ-1208
        DescriptorNotSent          SQ-1803
        DigestMismatch             SQ-1912
        TreeInvalid                SQ-1913
        BackupUnusable             SQ-1924
        LayerInvalid               SQ-1516
        ImageDocumentInvalid       SQ-1518
        ListenRefused              SQ-1623
        NameInvalid                SQ-1030
        SharedNameInvalid          SQ-1931
        DictKeyInvalid             SQ-1932
        VolumePathInvalid          SQ-1946
    NotFoundError                  SQ-1011
        FunctionNotFound           SQ-1016
        EntrypointNotFound         SQ-1017
        AppNotFound                SQ-1018
        SourceFileNotFound         SQ-1019
        DeployedAppNotFound        SQ-1031
        VersionNotFound            SQ-1032
        EnvironmentNotFound        SQ-1033
        ImageNameNotFound          SQ-1530
        BlobMissing                SQ-1910
        BucketMissing              SQ-1915
        SharedNotFound             SQ-1930
        VolumeNotFound             SQ-1945
        VolumePathNotFound         SQ-1947
        VolumeVersionNotFound      SQ-1949
    AlreadyExistsError             SQ-1012
        VolumePathTaken            SQ-1948
    ConflictError                  SQ-1013
        SourceChanged              SQ-1211
        DeploySuperseded           SQ-1035
        MachineJoined              SQ-1624
        CallConflict               SQ-1903
        DatabaseBusy               SQ-1922
        VolumeBusy                 SQ-1952
    AuthError                      SQ-1014
        PeerRefused                SQ-1608
        PeerNotTrusted             SQ-1804
        TokenRefused               SQ-1620
        NodeRefused                SQ-1621
    PermissionDeniedError          SQ-1015
        ScopeMissing               SQ-1625
        LevelRefused               SQ-1700
        BucketRefused              SQ-1914
        DatabaseRefused            SQ-1921
        VolumeReadOnly             SQ-1950
    SourceImportError              SQ-1021
    DeployFailed                   SQ-1034
    SerializationError             SQ-1200
        ArgumentNotSerializable    SQ-1201
        FunctionNotSerializable    SQ-1202
        ResultNotSerializable      SQ-1203
    DeserializationError           SQ-1204
    RequestSizeError               SQ-1205
        ResultTooLarge             SQ-1206
        SourceTooLarge             SQ-1210
        SharedValueTooLarge        SQ-1933
    LocalModuleMissing             SQ-1209
    TimeoutError                   SQ-1300
        FunctionTimeout            SQ-1301
        StartupTimeout             SQ-1302
        SandboxTimeout             SQ-1303
        ExecTimeout                SQ-1304
        OutputExpired              SQ-1305
    InputCancelled                 SQ-1306
    RemoteError                    SQ-1307
    UserCodeException              SQ-1308
    InputLost                      SQ-1309
        InputNotRunAgain           SQ-1313
    TooManyInputs                  SQ-1310
    ServerStopping                 SQ-1311
    AppStopped                     SQ-1312
    ResourceExhaustedError         SQ-1400
        OutOfMemory                SQ-1401
        TooManyProcesses           SQ-1402
        DiskFull                   SQ-1403
        TooManyFiles               SQ-1404
        NoNodeFits                 SQ-1411
        SharedMemoryTooSmall       SQ-1609
        ProcessLimitTooLow         SQ-1611
        BucketFull                 SQ-1918
        LayerTooLarge              SQ-1517
        DictFull                   SQ-1934
        QueueFull                  SQ-1935
    ContainerExited                SQ-1405
    ContainerStartError            SQ-1406
        VolumeMountRefused         SQ-1954
    SandboxTerminatedError         SQ-1407
    SandboxFilesystemError         SQ-1408
    SnapshotCreationError          SQ-1409
    FunctionNeverStarts            SQ-1410
    ImageBuildError                SQ-1500
        PackageNotFound            SQ-1501
        ImageDownloadError         SQ-1503
            RegistryAccessDenied   SQ-1510
            RegistryNotFound       SQ-1511
            RegistryUnreachable    SQ-1512
            RegistryRateLimited    SQ-1513
            RegistryAnswerWrong    SQ-1514
            RegistryRefused        SQ-1515
            MirrorUnreachable      SQ-1520
            MirrorAnswerWrong      SQ-1521
            MirrorNotTrusted       SQ-1522
        DebianReleaseNotFound      SQ-1523
        DebianPackageInvalid       SQ-1524
        PythonUnavailable          SQ-1525
    ConnectionError                SQ-1600
        ConnectionLost             SQ-1601
        ServerNotStarted           SQ-1602
        StaleSocket                SQ-1607
        ChannelClosed              SQ-1801
        UpgradeRefused             SQ-1805
        BucketUnreachable          SQ-1916
        DatabaseAway               SQ-1920
    VersionError                   SQ-1603
        VersionConflict            SQ-1604
    StateDirectoryError            SQ-1605
        StateDirectoryBusy         SQ-1606
        StateSchemaError           SQ-1613
        StateDirectoryReadOnly     SQ-1900
        StateCorrupt               SQ-1901
    TemporaryDirectoryError        SQ-1610
    LinuxNeeded                    SQ-1612
    IsolationUnavailable           SQ-1701
    FrameError                     SQ-1800
    ProtocolError                  SQ-1802
    StoreClosed                    SQ-1902
    BlobCorrupt                    SQ-1911
    BucketBusy                     SQ-1917
    BucketFailed                   SQ-1919
    DatabaseFailed                 SQ-1923
    QueueEmpty                     SQ-1936
    VolumeNotMounted               SQ-1951
    VolumeNotCommitted             SQ-1953

`builtins.TimeoutError` also catches TimeoutError and what is below it, `builtins.ConnectionError` also ConnectionError
and what is below it, `queue.Full` also QueueFull, `queue.Empty` also QueueEmpty, `builtins.FileNotFoundError` also
VolumePathNotFound, `builtins.FileExistsError` also VolumePathTaken. Codes go by hundreds: 10 asked and general, 11 settings, 12 values, 13 calls, 14 containers, 15 images,
16 server and machine, 17 isolation, 18 wire, 19 stores. A code is never given a second meaning.
"""

# ruff: noqa: A004 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.access import (
    ListenRefused as ListenRefused,
    MachineJoined as MachineJoined,
    NodeRefused as NodeRefused,
    ScopeMissing as ScopeMissing,
    TokenRefused as TokenRefused,
)
from squall.model.errors.asked import (
    AlreadyExistsError as AlreadyExistsError,
    AppNotFound as AppNotFound,
    AuthError as AuthError,
    ConflictError as ConflictError,
    EntrypointNotFound as EntrypointNotFound,
    ExecutionError as ExecutionError,
    FeatureUnavailable as FeatureUnavailable,
    FunctionNotFound as FunctionNotFound,
    InternalFailure as InternalFailure,
    InvalidError as InvalidError,
    NotFoundError as NotFoundError,
    ParameterInvalid as ParameterInvalid,
    PermissionDeniedError as PermissionDeniedError,
    SourceFileNotFound as SourceFileNotFound,
    SourceImportError as SourceImportError,
    UsageError as UsageError,
)
from squall.model.errors.calls import (
    AppStopped as AppStopped,
    ExecTimeout as ExecTimeout,
    FunctionTimeout as FunctionTimeout,
    InputCancelled as InputCancelled,
    InputLost as InputLost,
    InputNotRunAgain as InputNotRunAgain,
    OutputExpired as OutputExpired,
    RemoteError as RemoteError,
    SandboxTimeout as SandboxTimeout,
    ServerStopping as ServerStopping,
    StartupTimeout as StartupTimeout,
    TimeoutError as TimeoutError,
    TooManyInputs as TooManyInputs,
    UserCodeException as UserCodeException,
)
from squall.model.errors.containers import (
    ContainerExited as ContainerExited,
    ContainerStartError as ContainerStartError,
    DiskFull as DiskFull,
    FunctionNeverStarts as FunctionNeverStarts,
    NoNodeFits as NoNodeFits,
    OutOfMemory as OutOfMemory,
    ResourceExhaustedError as ResourceExhaustedError,
    SandboxFilesystemError as SandboxFilesystemError,
    SandboxTerminatedError as SandboxTerminatedError,
    SnapshotCreationError as SnapshotCreationError,
    TooManyFiles as TooManyFiles,
    TooManyProcesses as TooManyProcesses,
)
from squall.model.errors.deploys import (
    DeployedAppNotFound as DeployedAppNotFound,
    DeployFailed as DeployFailed,
    DeploySuperseded as DeploySuperseded,
    EnvironmentNotFound as EnvironmentNotFound,
    NameInvalid as NameInvalid,
    VersionNotFound as VersionNotFound,
)
from squall.model.errors.images import (
    DebianPackageInvalid as DebianPackageInvalid,
    DebianReleaseNotFound as DebianReleaseNotFound,
    ImageBuildError as ImageBuildError,
    ImageDocumentInvalid as ImageDocumentInvalid,
    ImageDownloadError as ImageDownloadError,
    ImageNameNotFound as ImageNameNotFound,
    ImageStepUnavailable as ImageStepUnavailable,
    LayerInvalid as LayerInvalid,
    LayerTooLarge as LayerTooLarge,
    MirrorAnswerWrong as MirrorAnswerWrong,
    MirrorNotTrusted as MirrorNotTrusted,
    MirrorUnreachable as MirrorUnreachable,
    PackageNotFound as PackageNotFound,
    PythonUnavailable as PythonUnavailable,
    RegistryAccessDenied as RegistryAccessDenied,
    RegistryAnswerWrong as RegistryAnswerWrong,
    RegistryNotFound as RegistryNotFound,
    RegistryRateLimited as RegistryRateLimited,
    RegistryRefused as RegistryRefused,
    RegistryUnreachable as RegistryUnreachable,
)
from squall.model.errors.machine import (
    ChannelClosed as ChannelClosed,
    ConnectionError as ConnectionError,
    ConnectionLost as ConnectionLost,
    DescriptorNotSent as DescriptorNotSent,
    FrameError as FrameError,
    IsolationUnavailable as IsolationUnavailable,
    LevelRefused as LevelRefused,
    LinuxNeeded as LinuxNeeded,
    PeerNotTrusted as PeerNotTrusted,
    PeerRefused as PeerRefused,
    ProcessLimitTooLow as ProcessLimitTooLow,
    ProtocolError as ProtocolError,
    ServerNotStarted as ServerNotStarted,
    SharedMemoryTooSmall as SharedMemoryTooSmall,
    StaleSocket as StaleSocket,
    StateDirectoryBusy as StateDirectoryBusy,
    StateDirectoryError as StateDirectoryError,
    StateSchemaError as StateSchemaError,
    TemporaryDirectoryError as TemporaryDirectoryError,
    UpgradeRefused as UpgradeRefused,
    VersionConflict as VersionConflict,
    VersionError as VersionError,
)
from squall.model.errors.root import (
    Error as Error,
    SquallError as SquallError,
    by_code as by_code,
    from_wire as from_wire,
)
from squall.model.errors.sharing import (
    DictFull as DictFull,
    DictKeyInvalid as DictKeyInvalid,
    QueueEmpty as QueueEmpty,
    QueueFull as QueueFull,
    SharedNameInvalid as SharedNameInvalid,
    SharedNotFound as SharedNotFound,
    SharedValueTooLarge as SharedValueTooLarge,
)
from squall.model.errors.stores import (
    BackupUnusable as BackupUnusable,
    BlobCorrupt as BlobCorrupt,
    BlobMissing as BlobMissing,
    BucketBusy as BucketBusy,
    BucketFailed as BucketFailed,
    BucketFull as BucketFull,
    BucketMissing as BucketMissing,
    BucketRefused as BucketRefused,
    BucketUnreachable as BucketUnreachable,
    CallConflict as CallConflict,
    DatabaseAway as DatabaseAway,
    DatabaseBusy as DatabaseBusy,
    DatabaseFailed as DatabaseFailed,
    DatabaseRefused as DatabaseRefused,
    DigestMismatch as DigestMismatch,
    StateCorrupt as StateCorrupt,
    StateDirectoryReadOnly as StateDirectoryReadOnly,
    StoreClosed as StoreClosed,
    TreeInvalid as TreeInvalid,
)
from squall.model.errors.values import (
    ArgumentNotSerializable as ArgumentNotSerializable,
    DeserializationError as DeserializationError,
    FunctionNotSerializable as FunctionNotSerializable,
    LocalModuleMissing as LocalModuleMissing,
    ModuleNotMountable as ModuleNotMountable,
    PythonVersionMismatch as PythonVersionMismatch,
    RequestSizeError as RequestSizeError,
    ResultNotSerializable as ResultNotSerializable,
    ResultTooLarge as ResultTooLarge,
    SerializationError as SerializationError,
    SourceChanged as SourceChanged,
    SourceTooLarge as SourceTooLarge,
)
from squall.model.errors.volume_mounts import (
    VolumeMountRefused as VolumeMountRefused,
    VolumeNotCommitted as VolumeNotCommitted,
)
from squall.model.errors.volumes import (
    VolumeBusy as VolumeBusy,
    VolumeNotFound as VolumeNotFound,
    VolumeNotMounted as VolumeNotMounted,
    VolumePathInvalid as VolumePathInvalid,
    VolumePathNotFound as VolumePathNotFound,
    VolumePathTaken as VolumePathTaken,
    VolumeReadOnly as VolumeReadOnly,
    VolumeVersionNotFound as VolumeVersionNotFound,
)

# The names that users of this field know.
FunctionTimeoutError = FunctionTimeout
StartupTimeoutError = StartupTimeout
SandboxTimeoutError = SandboxTimeout
ExecTimeoutError = ExecTimeout
OutputExpiredError = OutputExpired
InputCancellation = InputCancelled
