# SPDX-License-Identifier: GPL-3.0-or-later
# Writes CAPolicy.inf, which an installation and a renewal of the CA read.
[CmdletBinding(SupportsShouldProcess)]
param(
    # the whole file, base64
    [Parameter(Mandatory)][string]$Content
)
$ErrorActionPreference = 'Stop'

[System.IO.File]::WriteAllBytes("$env:SystemRoot\CAPolicy.inf", [System.Convert]::FromBase64String($Content))
$Ansible.Result = @{ path = "$env:SystemRoot\CAPolicy.inf" }
$Ansible.Changed = $true
