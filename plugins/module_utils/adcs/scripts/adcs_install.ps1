# SPDX-License-Identifier: GPL-3.0-or-later
# Installs the CA. A mark in the registry tells the next run that an installation that died was ours.
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)]
    [ValidateSet('EnterpriseRootCA', 'EnterpriseSubordinateCA', 'StandaloneRootCA', 'StandaloneSubordinateCA')]
    [string]$CAType,
    [Parameter(Mandatory)][string]$CACommonName,
    [string]$CADistinguishedNameSuffix,
    [string]$CryptoProviderName,
    [int]$KeyLength,
    [string]$HashAlgorithmName,
    [ValidateSet('Hours', 'Days', 'Weeks', 'Months', 'Years')][string]$ValidityPeriod,
    [int]$ValidityPeriodUnits,
    [string]$DatabaseDirectory,
    [string]$LogDirectory,
    [string]$OutputCertRequestFile,
    [string]$ParentCA,
    [pscredential]$Credential,
    # what an installation of ours left behind that died
    [switch]$OverwriteExistingKey,
    [switch]$OverwriteExistingDatabase,
    [switch]$OverwriteExistingCAinDS
)
$ErrorActionPreference = 'Stop'

$mark = 'HKLM:\SOFTWARE\certlogon\CertificationAuthority'
$fresh = -not (Test-Path -LiteralPath $mark)
# NTE_EXISTS, ERROR_ALREADY_EXISTS, or the advice to overwrite: what is in the way of a fresh installation is somebody else's. The mark must
# not stay then, or the next run would take it for its own and overwrite it.
$theirs = '0x8009000f|0x800700b7|OverwriteExisting'
$null = New-Item -Path $mark -Force
$null = New-ItemProperty -LiteralPath $mark -Name 'Name' -PropertyType 'String' -Value $CACommonName -Force

$arguments = @{}
foreach ($name in $PSBoundParameters.Keys) {
    if ($name -notin 'Confirm', 'WhatIf') { $arguments[$name] = $PSBoundParameters[$name] }
}
try {
    $answer = Install-AdcsCertificationAuthority @arguments -Force
}
catch {
    if ($fresh -and ($_.Exception.HResult -in -2146893809, -2147024713 -or [string]$_ -match $theirs)) {
        Remove-Item -LiteralPath $mark -Recurse
    }
    throw
}

# 0: installed, 398: installed but for the certificate, which somebody has to sign
if ($answer.ErrorId -in 0, 398 -or ($fresh -and [string]$answer.ErrorString -match $theirs)) {
    Remove-Item -LiteralPath $mark -Recurse
}
$Ansible.Result = @{ error_id = [int]$answer.ErrorId; error = [string]$answer.ErrorString }
$Ansible.Changed = $true
