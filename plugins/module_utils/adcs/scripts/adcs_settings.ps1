# SPDX-License-Identifier: GPL-3.0-or-later
# Writes registry values of the CA, all in one go, and restarts it if it runs.
[CmdletBinding(SupportsShouldProcess)]
param(
    # the CA's key below Configuration
    [Parameter(Mandatory)][string]$Authority,
    # tables with key (below the CA's, may be empty), name, kind (String, DWord, MultiString, Binary) and value (Binary: base64);
    # without a kind the value is removed
    [Parameter(Mandatory)][object[]]$Values
)
$ErrorActionPreference = 'Stop'

$root = "HKLM:\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration\$Authority"
foreach ($value in $Values) {
    $path = if ($value.key) { "$root\$($value.key)" } else { $root }
    switch ($value.kind) {
        'String' { $null = New-ItemProperty -LiteralPath $path -Name $value.name -PropertyType 'String' -Value ([string]$value.value) -Force }
        'DWord' { $null = New-ItemProperty -LiteralPath $path -Name $value.name -PropertyType 'DWord' -Value ([int]$value.value) -Force }
        'MultiString' {
            $null = New-ItemProperty -LiteralPath $path -Name $value.name -PropertyType 'MultiString' -Value ([string[]]@($value.value)) -Force
        }
        'Binary' {
            $bytes = [System.Convert]::FromBase64String($value.value)
            $null = New-ItemProperty -LiteralPath $path -Name $value.name -PropertyType 'Binary' -Value $bytes -Force
        }
        default { Remove-ItemProperty -LiteralPath $path -Name $value.name }
    }
}
$restarted = $false
if ((Get-Service -Name 'CertSvc').Status -eq 'Running') {
    Restart-Service -Name 'CertSvc' -Force
    $restarted = $true
}
$Ansible.Result = @{ written = @($Values).Count; restarted = $restarted }
$Ansible.Changed = $true
