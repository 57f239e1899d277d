# SPDX-License-Identifier: GPL-3.0-or-later
# Revokes a certificate, or releases it from hold; publishes CRLs afterwards if asked to.
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)][string]$Config,
    [Parameter(Mandatory)][string]$Serial,
    # as in RFC 5280; -1 releases from hold
    [Parameter(Mandatory)][ValidateRange(-1, 6)][int]$Reason,
    [switch]$Base,
    [switch]$Delta
)
$ErrorActionPreference = 'Stop'

$now = [datetime]::FromOADate(0)
$admin = New-Object -ComObject 'CertificateAuthority.Admin'
$admin.RevokeCertificate($Config, $Serial, $Reason, $now)
# CA_CRL_BASE = 1, CA_CRL_DELTA = 2
$kinds = 0
if ($Base) { $kinds = $kinds -bor 1 }
if ($Delta) { $kinds = $kinds -bor 2 }
if ($kinds) { $admin.PublishCRLs($Config, $now, $kinds) }
$Ansible.Result = @{ serial = $Serial; published = $kinds }
$Ansible.Changed = $true
