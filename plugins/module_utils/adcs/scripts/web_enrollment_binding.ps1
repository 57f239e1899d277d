# SPDX-License-Identifier: GPL-3.0-or-later
# Binds a certificate of the computer's store to port 443 of a site; makes the bindings where they are missing.
[CmdletBinding(SupportsShouldProcess)]
param(
    [string]$Site = 'Default Web Site',
    # none: no HTTPS binding is wanted, or it is right already
    [string]$Thumbprint,
    # whether port 80 has to be bound too, for CRLs
    [bool]$Http = $false
)
$ErrorActionPreference = 'Stop'

Import-Module -Name 'WebAdministration'
if ($Http -and -not (Get-WebBinding -Name $Site -Protocol 'http' -Port 80)) {
    New-WebBinding -Name $Site -Protocol 'http' -IPAddress '*' -Port 80
}
if ($Thumbprint) {
    $certificate = Get-Item -LiteralPath "Cert:\LocalMachine\My\$Thumbprint"
    if (-not (Get-WebBinding -Name $Site -Protocol 'https' -Port 443)) {
        New-WebBinding -Name $Site -Protocol 'https' -IPAddress '*' -Port 443
    }
    if (Test-Path -LiteralPath 'IIS:\SslBindings\0.0.0.0!443') {
        Set-Item -LiteralPath 'IIS:\SslBindings\0.0.0.0!443' -Value $certificate
    }
    else {
        New-Item -Path 'IIS:\SslBindings\0.0.0.0!443' -Value $certificate | Out-Null
    }
}
$Ansible.Changed = $true
$Ansible.Result = @{ thumbprint = $Thumbprint }
