# SPDX-License-Identifier: GPL-3.0-or-later
# Puts files into the CertEnroll folder, from where they are served: an offline root's CRL and certificate.
[CmdletBinding(SupportsShouldProcess)]
param(
    # tables with name (without a folder) and content (base64)
    [Parameter(Mandatory)][object[]]$Files
)
$ErrorActionPreference = 'Stop'

$folder = "$env:SystemRoot\System32\CertSrv\CertEnroll"
$null = New-Item -Path $folder -ItemType 'Directory' -Force
foreach ($file in $Files) {
    $name = Split-Path -Leaf $file.name
    [System.IO.File]::WriteAllBytes("$folder\$name", [System.Convert]::FromBase64String($file.content))
}
$Ansible.Result = @{ folder = $folder }
$Ansible.Changed = $true
