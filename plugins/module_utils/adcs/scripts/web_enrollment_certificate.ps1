# SPDX-License-Identifier: GPL-3.0-or-later
# Requests a certificate for the computer, or takes up a request that was pending, and puts it into the computer's store.
[CmdletBinding(SupportsShouldProcess)]
param(
    [string]$Template,
    [string[]]$DnsName = @(),
    [string]$FriendlyName,
    # thumbprint of the pending request in the store REQUEST
    [string]$Pending
)
$ErrorActionPreference = 'Stop'

if ($Pending) {
    $outcome = Get-Certificate -Request (Get-Item -LiteralPath "Cert:\LocalMachine\REQUEST\$Pending")
}
else {
    $arguments = @{ Template = $Template; CertStoreLocation = 'Cert:\LocalMachine\My'; Url = 'ldap:' }
    if ($DnsName) {
        $arguments.DnsName = $DnsName
        $arguments.SubjectName = "CN=$($DnsName[0])"
    }
    $outcome = Get-Certificate @arguments
}
$certificate = $null
if ($outcome.Certificate) {
    # what Get-Certificate returns is a copy; the name is the store's
    $certificate = Get-Item -LiteralPath "Cert:\LocalMachine\My\$($outcome.Certificate.Thumbprint)"
    $certificate.FriendlyName = $FriendlyName
}
elseif ($outcome.Request -and -not $Pending) {
    $request = Get-Item -LiteralPath "Cert:\LocalMachine\REQUEST\$($outcome.Request.Thumbprint)"
    $request.FriendlyName = $FriendlyName
}
$Ansible.Changed = $true
$Ansible.Result = @{
    status = [string]$outcome.Status
    der = if ($certificate) { [System.Convert]::ToBase64String($certificate.RawData) }
}
