# SPDX-License-Identifier: GPL-3.0-or-later
# Configures the web enrollment of the CA on this host, whose feature is installed. Until web_enrollment_settings.ps1 has done its part, a key
# of the registry says that it is unfinished.
[CmdletBinding(SupportsShouldProcess)]
param(
    [System.Management.Automation.PSCredential]$Credential
)
$ErrorActionPreference = 'Stop'

New-Item -Path 'HKLM:\SOFTWARE\certlogon\WebEnrollment' -Force | Out-Null
$arguments = @{ Force = $true }
if ($Credential) { $arguments.Credential = $Credential }
$outcome = Install-AdcsWebEnrollment @arguments
$Ansible.Changed = $true
$Ansible.Result = @{ error_id = [int]$outcome.ErrorId; error = [string]$outcome.ErrorString }
