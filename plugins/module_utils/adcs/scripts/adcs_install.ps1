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
$null = New-Item -Path $mark -Force
$null = New-ItemProperty -LiteralPath $mark -Name 'Name' -PropertyType 'String' -Value $CACommonName -Force

$arguments = @{}
foreach ($name in $PSBoundParameters.Keys) {
    if ($name -notin 'Confirm', 'WhatIf') { $arguments[$name] = $PSBoundParameters[$name] }
}
$answer = Install-AdcsCertificationAuthority @arguments -Force

# 0: installed, 398: installed but for the certificate, which somebody has to sign
if ($answer.ErrorId -in 0, 398) {
    Remove-Item -LiteralPath $mark -Recurse
}
$Ansible.Result = @{ error_id = [int]$answer.ErrorId; error = [string]$answer.ErrorString }
$Ansible.Changed = $true
