# SPDX-License-Identifier: GPL-3.0-or-later
# Installs the certificate that came back for a subordinate's request, its parents' certificates before it, and starts the CA.
[CmdletBinding(SupportsShouldProcess)]
param(
    # the CA's certificate, or a PKCS#7 that holds it, base64
    [Parameter(Mandatory)][string]$Certificate,
    # parents' certificates, base64
    [string[]]$Roots = @(),
    [string[]]$Intermediates = @()
)
$ErrorActionPreference = 'Stop'

function Import-Parent {
    param([string]$Content, [string]$Store)
    $file = Join-Path $Ansible.Tmpdir 'parent.cer'
    [System.IO.File]::WriteAllBytes($file, [System.Convert]::FromBase64String($Content))
    $null = Import-Certificate -FilePath $file -CertStoreLocation $Store
}

foreach ($content in $Roots) { Import-Parent -Content $content -Store 'Cert:\LocalMachine\Root' }
foreach ($content in $Intermediates) { Import-Parent -Content $content -Store 'Cert:\LocalMachine\CA' }

$file = Join-Path $Ansible.Tmpdir 'ca.cer'
[System.IO.File]::WriteAllBytes($file, [System.Convert]::FromBase64String($Certificate))
# certutil writes its errors to standard output; what it says matters only when it fails
$text = & certutil.exe @('-f', '-installcert', $file)
if ($LASTEXITCODE -ne 0) {
    throw "certutil -installcert: $($text -join ' ')"
}
Start-Service -Name 'CertSvc'
$Ansible.Result = @{ status = [string](Get-Service -Name 'CertSvc').Status }
$Ansible.Changed = $true
