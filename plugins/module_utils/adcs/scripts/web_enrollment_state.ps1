# SPDX-License-Identifier: GPL-3.0-or-later
# Everything that adcs_web_enrollment decides by. Reads only, so it runs in check mode too.
[CmdletBinding(SupportsShouldProcess)]
param(
    [string]$Site = 'Default Web Site'
)
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false

$Server = 'MACHINE/WEBROOT/APPHOST'
$Authentication = 'system.webServer/security/authentication'

function Get-Setting {
    param([string]$Location, [string]$Filter, [string]$Name)
    $found = Get-WebConfigurationProperty -PSPath $Server -Location $Location -Filter $Filter -Name $Name
    # truth values come as an object with a value, flags and enumerations as text
    if ($null -ne $found -and $found.PSObject.Properties['Value']) { $found.Value } else { [string]$found }
}

$features = @{}
foreach ($feature in Get-WindowsFeature -Name 'ADCS-Web-Enrollment', 'Web-Windows-Auth', 'Web-Basic-Auth', 'Web-Scripting-Tools') {
    $features[$feature.Name] = [bool]$feature.Installed
}

$configuration = 'HKLM:\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration'
$authority = $null
$hashes = @()
if (Test-Path -LiteralPath $configuration) {
    $authority = (Get-Item -LiteralPath $configuration).GetValue('Active')
    if ($authority) {
        $hashes = @((Get-Item -LiteralPath "$configuration\$authority").GetValue('CACertHash') | ForEach-Object { $_ -replace ' ', '' })
    }
}

$certificates = @(foreach ($certificate in Get-ChildItem -LiteralPath 'Cert:\LocalMachine\My') {
    @{
        der = [System.Convert]::ToBase64String($certificate.RawData)
        private_key = [bool]$certificate.HasPrivateKey
        friendly_name = [string]$certificate.FriendlyName
        authority = $hashes -contains $certificate.Thumbprint
    }
})
$pending = @(foreach ($certificate in Get-ChildItem -LiteralPath 'Cert:\LocalMachine\REQUEST') {
    @{ thumbprint = $certificate.Thumbprint; friendly_name = [string]$certificate.FriendlyName }
})

$iis = $null
$w3svc = Get-Service -Name 'W3SVC' -ErrorAction SilentlyContinue
if ($w3svc -and $features['Web-Scripting-Tools']) {
    Import-Module -Name 'WebAdministration'
    $bindings = @(foreach ($binding in Get-WebBinding -Name $Site) {
        @{ protocol = $binding.protocol; information = $binding.bindingInformation; thumbprint = [string]$binding.certificateHash }
    })
    $iis = @{ bindings = $bindings; certsrv = $null; certenroll = $null }
    if (Test-Path -LiteralPath "IIS:\Sites\$Site\CertSrv") {
        $location = "$Site/CertSrv"
        $providers = Get-WebConfiguration -PSPath $Server -Location $location -Filter "$Authentication/windowsAuthentication/providers/add"
        $iis.certsrv = @{
            ssl_flags = Get-Setting -Location $location -Filter 'system.webServer/security/access' -Name 'sslFlags'
            anonymous = Get-Setting -Location $location -Filter "$Authentication/anonymousAuthentication" -Name 'enabled'
            basic = if ($features['Web-Basic-Auth']) {
                Get-Setting -Location $location -Filter "$Authentication/basicAuthentication" -Name 'enabled'
            } else { $false }
            windows = Get-Setting -Location $location -Filter "$Authentication/windowsAuthentication" -Name 'enabled'
            token_checking = Get-Setting -Location $location -Filter "$Authentication/windowsAuthentication" -Name 'extendedProtection.tokenChecking'
            providers = @($providers | ForEach-Object { [string]$_.value })
        }
    }
    if (Test-Path -LiteralPath "IIS:\Sites\$Site\CertEnroll") {
        $location = "$Site/CertEnroll"
        $iis.certenroll = @{
            ssl_flags = Get-Setting -Location $location -Filter 'system.webServer/security/access' -Name 'sslFlags'
            double_escaping = Get-Setting -Location $location -Filter 'system.webServer/security/requestFiltering' -Name 'allowDoubleEscaping'
        }
    }
}

$computer = Get-CimInstance -ClassName 'Win32_ComputerSystem'
$Ansible.Result = @{
    fqdn = if ($computer.PartOfDomain) { "$($computer.DNSHostName).$($computer.Domain)" } else { $computer.DNSHostName }
    now = [System.DateTime]::UtcNow.ToString('o')
    features = $features
    authority = $authority
    certificates = $certificates
    pending = $pending
    begun = Test-Path -LiteralPath 'HKLM:\SOFTWARE\certlogon\WebEnrollment'
    service = if ($w3svc) { [string]$w3svc.Status }
    iis = $iis
}
