# SPDX-License-Identifier: GPL-3.0-or-later
# Everything that adcs_authority decides by. Reads only, so it runs in check mode too.
[CmdletBinding(SupportsShouldProcess)]
param(
    # accounts and groups whose SIDs are wanted
    [string[]]$Principals = @()
)
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false

$Service = 'HKLM:\SYSTEM\CurrentControlSet\Services\CertSvc'

function Get-RegistryTable {
    param([string]$Path)
    $table = @{}
    if (Test-Path -LiteralPath $Path) {
        $key = Get-Item -LiteralPath $Path
        foreach ($name in $key.GetValueNames()) {
            $value = $key.GetValue($name, $null, 'DoNotExpandEnvironmentNames')
            if ($value -is [byte[]]) { $value = [System.Convert]::ToBase64String($value) }
            $table[$name] = @{ kind = [string]$key.GetValueKind($name); value = $value }
        }
    }
    $table
}

function Get-Head {
    param([string]$Path, [int]$Count)
    $stream = [System.IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite')
    try {
        $buffer = [byte[]]::new([System.Math]::Min($Count, $stream.Length))
        $null = $stream.Read($buffer, 0, $buffer.Length)
        [System.Convert]::ToBase64String($buffer)
    }
    finally {
        $stream.Dispose()
    }
}

function Get-Whole {
    param([string]$Path)
    if ($Path -and (Test-Path -LiteralPath $Path -PathType Leaf)) {
        [System.Convert]::ToBase64String([System.IO.File]::ReadAllBytes($Path))
    }
}

$computer = Get-CimInstance -ClassName Win32_ComputerSystem
$feature = Get-WindowsFeature -Name 'ADCS-Cert-Authority'
$certsvc = Get-Service -Name 'CertSvc' -ErrorAction SilentlyContinue
$configuration = Get-RegistryTable -Path "$Service\Configuration"
$active = if ($configuration['Active']) { $configuration['Active'].value }

$ca = @{}
$csp = @{}
$policy = @{}
$policyName = $null
if ($active) {
    $ca = Get-RegistryTable -Path "$Service\Configuration\$active"
    $csp = Get-RegistryTable -Path "$Service\Configuration\$active\CSP"
    $modules = Get-RegistryTable -Path "$Service\Configuration\$active\PolicyModules"
    if ($modules['Active']) {
        $policyName = $modules['Active'].value
        $policy = Get-RegistryTable -Path "$Service\Configuration\$active\PolicyModules\$policyName"
    }
}

$certificates = @()
if ($ca['CACertHash']) {
    $certificates = @(foreach ($hash in $ca['CACertHash'].value) {
        $path = "Cert:\LocalMachine\My\$($hash -replace ' ', '')"
        if (Test-Path -LiteralPath $path) {
            $certificate = Get-Item -LiteralPath $path
            @{ der = [System.Convert]::ToBase64String($certificate.RawData); private_key = $certificate.HasPrivateKey }
        }
    })
}

$sids = @{}
$names = @{}
foreach ($name in $Principals) {
    try {
        $account = if ($name -like 'S-1-*') { [System.Security.Principal.SecurityIdentifier]$name } else { [System.Security.Principal.NTAccount]$name }
        $sid = $account.Translate([System.Security.Principal.SecurityIdentifier])
        $sids[$name] = $sid.Value
        $names[$sid.Value] = $sid.Translate([System.Security.Principal.NTAccount]).Value
    }
    catch [System.Security.Principal.IdentityNotMappedException] {
        # a SID without a name stays what it is; a name without a SID is nobody
        if (-not $sids[$name]) { $sids[$name] = $null }
    }
}
foreach ($value in 'Security', 'OfficerRights', 'EnrollmentAgentRights') {
    if ($ca[$value]) {
        $bytes = [System.Convert]::FromBase64String($ca[$value].value)
        $descriptor = [System.Security.AccessControl.RawSecurityDescriptor]::new($bytes, 0)
        foreach ($ace in $descriptor.DiscretionaryAcl) {
            try {
                $names[$ace.SecurityIdentifier.Value] = $ace.SecurityIdentifier.Translate([System.Security.Principal.NTAccount]).Value
            }
            catch [System.Security.Principal.IdentityNotMappedException] {
                $names[$ace.SecurityIdentifier.Value] = $null
            }
        }
    }
}

$crls = @()
$served = @{}
if (Test-Path -LiteralPath "$env:SystemRoot\System32\CertSrv\CertEnroll") {
    $files = @(Get-ChildItem -LiteralPath "$env:SystemRoot\System32\CertSrv\CertEnroll" -File)
    $crls = @(foreach ($file in $files | Where-Object { $_.Extension -eq '.crl' }) {
        # the dates of a CRL are at its beginning, however long it is
        @{ name = $file.Name; head = Get-Head -Path $file.FullName -Count 4096 }
    })
    foreach ($file in $files) { $served[$file.Name] = (Get-FileHash -LiteralPath $file.FullName -Algorithm SHA256).Hash }
}

# RequestFileName is a pattern (%1 the host, %3 the CA, %4 the certificate's number), so all requests of its folder are wanted
$requests = @()
if ($ca['RequestFileName']) {
    $folder = Split-Path -Parent $ca['RequestFileName'].value
    if ($folder -and (Test-Path -LiteralPath $folder)) {
        $requests = @(foreach ($file in Get-ChildItem -LiteralPath $folder -Filter '*.req') {
            @{ path = $file.FullName; written = $file.LastWriteTimeUtc.ToString('o'); content = Get-Whole -Path $file.FullName }
        })
    }
}

$Ansible.Result = @{
    computer = @{
        name = $computer.Name
        fqdn = if ($computer.PartOfDomain) { "$($computer.DNSHostName).$($computer.Domain)" } else { $computer.DNSHostName }
        in_domain = [bool]$computer.PartOfDomain
        domain = $computer.Domain
    }
    now = [System.DateTime]::UtcNow.ToString('o')
    reboot_pending = Test-Path -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending'
    feature = @{ installed = [bool]$feature.Installed; state = [string]$feature.InstallState }
    service = if ($certsvc) { @{ status = [string]$certsvc.Status; start_type = [string]$certsvc.StartType } }
    begun = Get-RegistryTable -Path 'HKLM:\SOFTWARE\certlogon\CertificationAuthority'
    configuration = $configuration
    ca = $ca
    csp = $csp
    policy_module = $policyName
    policy = $policy
    certificates = $certificates
    capolicy = Get-Whole -Path "$env:SystemRoot\CAPolicy.inf"
    requests = $requests
    system_root = $env:SystemRoot
    crls = $crls
    served = $served
    sids = $sids
    names = $names
}
