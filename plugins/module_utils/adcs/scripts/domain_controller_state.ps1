# SPDX-License-Identifier: GPL-3.0-or-later
# How a Windows domain controller maps certificates to accounts, and whom it believes. Reads only.
[CmdletBinding(SupportsShouldProcess)]
param()
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false

$Services = 'HKLM:\SYSTEM\CurrentControlSet\Services'

function Get-RegistryTable {
    param([string]$Path, [string[]]$Names)
    $table = @{}
    if (Test-Path -LiteralPath $Path) {
        $key = Get-Item -LiteralPath $Path
        foreach ($name in $key.GetValueNames()) {
            if ($Names -contains $name) { $table[$name] = $key.GetValue($name) }
        }
    }
    $table
}

function Get-Thumbprint {
    param([string]$Store)
    $path = "HKLM:\SOFTWARE\Microsoft\$Store\Certificates"
    if (Test-Path -LiteralPath $path) {
        foreach ($key in Get-ChildItem -LiteralPath $path) { $key.PSChildName }
    }
}

$windows = Get-Item -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$computer = Get-CimInstance -ClassName 'Win32_ComputerSystem'
$kdc = Get-Service -Name 'Kdc' -ErrorAction SilentlyContinue

$certificates = @(foreach ($certificate in Get-ChildItem -LiteralPath 'Cert:\LocalMachine\My') {
    @{ der = [System.Convert]::ToBase64String($certificate.RawData); private_key = [bool]$certificate.HasPrivateKey }
})

$Ansible.Result = @{
    now = [System.DateTime]::UtcNow.ToString('o')
    fqdn = if ($computer.PartOfDomain) { "$($computer.DNSHostName).$($computer.Domain)" } else { $computer.DNSHostName }
    domain = $computer.Domain
    # 4 and 5 are domain controllers
    role = [int]$computer.DomainRole
    windows = @{
        name = [string]$windows.GetValue('ProductName')
        build = [string]$windows.GetValue('CurrentBuild')
        revision = $windows.GetValue('UBR')
    }
    service = if ($kdc) { [string]$kdc.Status }
    kdc = Get-RegistryTable -Path "$Services\Kdc" -Names 'StrongCertificateBindingEnforcement', 'CertificateBackdatingCompensation', 'UseSubjectAltName'
    schannel = Get-RegistryTable -Path 'HKLM:\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL' -Names 'CertificateMappingMethods'
    ntds = Get-RegistryTable -Path "$Services\NTDS\Parameters" -Names 'LDAPServerIntegrity', 'LdapEnforceChannelBinding'
    ntauth = @(Get-Thumbprint -Store 'EnterpriseCertificates\NTAuth')
    certificates = $certificates
}
