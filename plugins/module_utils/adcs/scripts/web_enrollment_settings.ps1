# SPDX-License-Identifier: GPL-3.0-or-later
# Sets IIS's settings of /CertSrv and /CertEnroll, those that are given.
[CmdletBinding(SupportsShouldProcess)]
param(
    [string]$Site = 'Default Web Site',
    [ValidateSet('None', 'Ssl')][string]$SslFlags,
    [ValidateSet('None', 'Allow', 'Require')][string]$TokenChecking,
    [string[]]$Providers,
    [bool]$Windows,
    [bool]$Basic,
    [bool]$Anonymous,
    [ValidateSet('None', 'Ssl')][string]$CertEnrollSslFlags,
    [bool]$DoubleEscaping
)
$ErrorActionPreference = 'Stop'

Import-Module -Name 'WebAdministration'
$Server = 'MACHINE/WEBROOT/APPHOST'
$Security = 'system.webServer/security'
$WindowsAuthentication = "$Security/authentication/windowsAuthentication"
$settings = @(
    @{ parameter = 'SslFlags'; path = 'CertSrv'; filter = "$Security/access"; name = 'sslFlags' }
    @{ parameter = 'TokenChecking'; path = 'CertSrv'; filter = $WindowsAuthentication; name = 'extendedProtection.tokenChecking' }
    @{ parameter = 'Windows'; path = 'CertSrv'; filter = $WindowsAuthentication; name = 'enabled' }
    @{ parameter = 'Basic'; path = 'CertSrv'; filter = "$Security/authentication/basicAuthentication"; name = 'enabled' }
    @{ parameter = 'Anonymous'; path = 'CertSrv'; filter = "$Security/authentication/anonymousAuthentication"; name = 'enabled' }
    @{ parameter = 'CertEnrollSslFlags'; path = 'CertEnroll'; filter = "$Security/access"; name = 'sslFlags' }
    @{ parameter = 'DoubleEscaping'; path = 'CertEnroll'; filter = "$Security/requestFiltering"; name = 'allowDoubleEscaping' }
)
$done = @()
foreach ($setting in $settings) {
    if ($PSBoundParameters.ContainsKey($setting.parameter)) {
        $value = $PSBoundParameters[$setting.parameter]
        Set-WebConfigurationProperty -PSPath $Server -Location "$Site/$($setting.path)" -Filter $setting.filter -Name $setting.name -Value $value
        $done += $setting.parameter
    }
}
if ($PSBoundParameters.ContainsKey('Providers')) {
    $filter = "$WindowsAuthentication/providers"
    $there = @(Get-WebConfiguration -PSPath $Server -Location "$Site/CertSrv" -Filter "$filter/add" | ForEach-Object { [string]$_.value })
    foreach ($provider in $there) {
        Remove-WebConfigurationProperty -PSPath $Server -Location "$Site/CertSrv" -Filter $filter -Name '.' -AtElement @{ value = $provider }
    }
    foreach ($provider in $Providers) {
        Add-WebConfigurationProperty -PSPath $Server -Location "$Site/CertSrv" -Filter $filter -Name '.' -Value @{ value = $provider }
    }
    $done += 'Providers'
}
if (Test-Path -LiteralPath 'HKLM:\SOFTWARE\certlogon\WebEnrollment') {
    Remove-Item -LiteralPath 'HKLM:\SOFTWARE\certlogon\WebEnrollment'
}
$Ansible.Changed = $true
$Ansible.Result = @{ set = $done }
