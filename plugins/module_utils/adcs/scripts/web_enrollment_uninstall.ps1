# SPDX-License-Identifier: GPL-3.0-or-later
# Takes the web enrollment's configuration away. Features, bindings and certificates stay.
[CmdletBinding(SupportsShouldProcess)]
param()
$ErrorActionPreference = 'Stop'

$outcome = Uninstall-AdcsWebEnrollment -Force
if (Test-Path -LiteralPath 'HKLM:\SOFTWARE\certlogon\WebEnrollment') {
    Remove-Item -LiteralPath 'HKLM:\SOFTWARE\certlogon\WebEnrollment'
}
$Ansible.Changed = $true
$Ansible.Result = @{ error_id = [int]$outcome.ErrorId; error = [string]$outcome.ErrorString }
