# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the CA publish new CRLs.
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)][string]$Config,
    [switch]$Base,
    [switch]$Delta
)
$ErrorActionPreference = 'Stop'

# CA_CRL_BASE = 1, CA_CRL_DELTA = 2; the moment 0 leaves the end to the CA
$kinds = 0
if ($Base) { $kinds = $kinds -bor 1 }
if ($Delta) { $kinds = $kinds -bor 2 }
$admin = New-Object -ComObject 'CertificateAuthority.Admin'
$admin.PublishCRLs($Config, [datetime]::FromOADate(0), $kinds)
$Ansible.Result = @{ published = $kinds }
$Ansible.Changed = $true
