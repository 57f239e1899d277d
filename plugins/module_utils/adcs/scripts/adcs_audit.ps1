# SPDX-License-Identifier: GPL-3.0-or-later
# What an audit wants to know of a CA host beside the states that the other scripts read. Reads only; secrets are not read at all.
[CmdletBinding(SupportsShouldProcess)]
param(
    # folder of the backups, if they are kept on this host
    [string]$BackupPath = ''
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

$windows = Get-Item -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'

# of the password it is told whether there is one
$yubihsm = 'HKLM:\SOFTWARE\Yubico\YubiHSM'
$hsm = @{ configured = Test-Path -LiteralPath $yubihsm; password = $false }
if ($hsm.configured) {
    $hsm.password = (Get-Item -LiteralPath $yubihsm).GetValueNames() -contains 'AuthKeysetPassword'
}

$features = @{}
foreach ($feature in Get-WindowsFeature -Name 'Web-Windows-Auth', 'Web-Basic-Auth', 'Web-Scripting-Tools') {
    $features[$feature.Name] = [bool]$feature.Installed
}
$web = @{ installed = [bool](Get-Service -Name 'W3SVC' -ErrorAction SilentlyContinue); readable = $features['Web-Scripting-Tools']; sites = @() }
if ($web.installed -and $web.readable) {
    Import-Module -Name 'WebAdministration'
    $web.sites = @(foreach ($site in Get-ChildItem -LiteralPath 'IIS:\Sites') {
        $name = $site.Name
        $bindings = @(foreach ($binding in Get-WebBinding -Name $name) {
            @{ protocol = $binding.protocol; information = $binding.bindingInformation }
        })
        $applications = @(foreach ($application in Get-WebApplication -Site $name) {
            $location = "$name$($application.path)"
            $providers = Get-WebConfiguration -PSPath $Server -Location $location -Filter "$Authentication/windowsAuthentication/providers/add"
            @{
                path = $application.path
                ssl_flags = Get-Setting -Location $location -Filter 'system.webServer/security/access' -Name 'sslFlags'
                basic = if ($features['Web-Basic-Auth']) {
                    Get-Setting -Location $location -Filter "$Authentication/basicAuthentication" -Name 'enabled'
                } else { $false }
                windows = if ($features['Web-Windows-Auth']) {
                    Get-Setting -Location $location -Filter "$Authentication/windowsAuthentication" -Name 'enabled'
                } else { $false }
                token_checking = if ($features['Web-Windows-Auth']) {
                    Get-Setting -Location $location -Filter "$Authentication/windowsAuthentication" -Name 'extendedProtection.tokenChecking'
                } else { 'None' }
                providers = @($providers | ForEach-Object { [string]$_.value })
            }
        })
        @{ name = $name; bindings = $bindings; applications = $applications }
    })
}

$backups = $null
if ($BackupPath) {
    $backups = @()
    if (Test-Path -LiteralPath $BackupPath -PathType Container) {
        $backups = @(foreach ($file in Get-ChildItem -LiteralPath $BackupPath -Recurse -File -Filter '*.p12') {
            @{ path = $file.FullName; written = $file.LastWriteTimeUtc.ToString('o') }
        })
    }
}

$Ansible.Result = @{
    now = [System.DateTime]::UtcNow.ToString('o')
    windows = @{
        name = [string]$windows.GetValue('ProductName')
        build = [string]$windows.GetValue('CurrentBuild')
        revision = $windows.GetValue('UBR')
    }
    yubihsm = $hsm
    web = $web
    backups = $backups
}
