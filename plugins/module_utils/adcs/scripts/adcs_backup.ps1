# SPDX-License-Identifier: GPL-3.0-or-later
# Backs up the CA's key and database into a new folder.
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)][string]$Path,
    [Parameter(Mandatory)][securestring]$Password
)
$ErrorActionPreference = 'Stop'

Backup-CARoleService -Path $Path -Password $Password
$Ansible.Result = @{ path = $Path; files = @(Get-ChildItem -LiteralPath $Path -Recurse | ForEach-Object { $_.FullName }) }
$Ansible.Changed = $true
