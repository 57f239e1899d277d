# SPDX-License-Identifier: GPL-3.0-or-later
# Renews the CA's certificate: a root's at once, a subordinate's by its parent or by a request that somebody carries.
[CmdletBinding(SupportsShouldProcess)]
param(
    [switch]$ReuseKeys,
    # config string of the parent that is to sign; without it the request is left in a file
    [string]$ParentCA
)
$ErrorActionPreference = 'Stop'

$arguments = @('-silent', '-renewCert')
if ($ReuseKeys) { $arguments += 'ReuseKeys' }
if ($ParentCA) { $arguments += $ParentCA }
$text = & certutil.exe $arguments
if ($LASTEXITCODE -ne 0) {
    throw "certutil -renewCert: $($text -join ' ')"
}
# certutil stops the service for the renewal
Start-Service -Name 'CertSvc'
$Ansible.Result = @{ output = $text -join ' ' }
$Ansible.Changed = $true
