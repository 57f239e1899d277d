# SPDX-License-Identifier: GPL-3.0-or-later
# Backs up the CA's key and database into a new folder.
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)][string]$Path,
    [Parameter(Mandatory)][securestring]$Password
)
$ErrorActionPreference = 'Stop'

# Nobody but SYSTEM and Administrators reads here: the file with the key could be guessed at elsewhere, the database names everybody.
$null = New-Item -Path $Path -ItemType 'Directory' -Force
$text = & icacls.exe @($Path, '/inheritance:r', '/grant:r', '*S-1-5-18:(OI)(CI)F', '*S-1-5-32-544:(OI)(CI)F')
if ($LASTEXITCODE -ne 0) {
    throw "icacls: $($text -join ' ')"
}
Backup-CARoleService -Path $Path -Password $Password
$Ansible.Result = @{ path = $Path; files = @(Get-ChildItem -LiteralPath $Path -Recurse | ForEach-Object { $_.FullName }) }
$Ansible.Changed = $true
