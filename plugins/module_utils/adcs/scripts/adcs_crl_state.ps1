# SPDX-License-Identifier: GPL-3.0-or-later
# The CRLs that the CA has made, where it says they are, and what its database says of certificates. Reads only, so it runs in check mode too.
[CmdletBinding(SupportsShouldProcess)]
param(
    # serial numbers, lower case
    [string[]]$Serials = @(),
    # accounts, DOMAIN\name
    [string[]]$Requesters = @(),
    # also everything that is revoked or on hold
    [switch]$Revoked
)
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false

$Configuration = 'HKLM:\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration'
$Columns = @(
    'SerialNumber', 'Request.RequesterName', 'Request.Disposition', 'Request.RevokedReason', 'CommonName', 'NotAfter'
)

function Get-Row {
    param([string]$Config, [string]$Column, [object]$Value)
    $view = New-Object -ComObject 'CertificateAuthority.View'
    $view.OpenConnection($Config)
    $view.SetResultColumnCount($Columns.Count)
    foreach ($name in $Columns) {
        $view.SetResultColumn($view.GetColumnIndex($false, $name))
    }
    # CVR_SEEK_EQ = 1, CVR_SORT_NONE = 0
    $view.SetRestriction($view.GetColumnIndex($false, $Column), 1, 0, $Value)
    $rows = $view.OpenView()
    while ($rows.Next() -ne -1) {
        $row = @{}
        $cells = $rows.EnumCertViewColumn()
        while ($cells.Next() -ne -1) {
            # CV_OUT_BASE64 = 1; moments come as universal time that does not say so
            $cell = $cells.GetValue(1)
            if ($cell -is [datetime]) { $cell = [datetime]::SpecifyKind($cell, 'Utc').ToString('o') }
            $row[$cells.GetName()] = $cell
        }
        $row
    }
}

$result = @{ now = [datetime]::UtcNow.ToString('o'); active = $null; running = $false; lists = @(); rows = @() }
$active = if (Test-Path -LiteralPath $Configuration) { (Get-Item -LiteralPath $Configuration).GetValue('Active') }
if ($active) {
    $ca = Get-Item -LiteralPath "$Configuration\$active"
    $config = "$($ca.GetValue('CAServerName'))\$($ca.GetValue('CommonName'))"
    $result.active = $active
    $result.server = $ca.GetValue('CAServerName')
    $result.common_name = $ca.GetValue('CommonName')
    $result.configuration_dn = $ca.GetValue('DSConfigDN')
    $result.places = @($ca.GetValue('CRLPublicationURLs'))
    $result.delta_units = $ca.GetValue('CRLDeltaPeriodUnits')
    $service = Get-Service -Name 'CertSvc' -ErrorAction SilentlyContinue
    $result.running = $service -and $service.Status -eq 'Running'
}
if ($result.running) {
    $admin = New-Object -ComObject 'CertificateAuthority.Admin'
    # CR_PROP_CASIGCERTCOUNT = 11, CR_PROP_CRLSTATE = 20, PROPTYPE_LONG = 1
    $count = $admin.GetCAProperty($config, 11, 0, 1, 0)
    $result.lists = @(for ($index = 0; $index -lt $count; $index++) {
        # CA_DISP_VALID = 3; a certificate that was renewed with its key has no CRL of its own
        if ($admin.GetCAProperty($config, 20, $index, 1, 0) -eq 3) {
            # CR_PROP_BASECRL = 17, CR_PROP_DELTACRL = 18, PROPTYPE_BINARY = 3, CV_OUT_BASE64 = 1
            $delta = if ($result.delta_units) { $admin.GetCAProperty($config, 18, $index, 3, 1) }
            @{ index = $index; base = $admin.GetCAProperty($config, 17, $index, 3, 1); delta = $delta }
        }
    })
    $result.rows = @(
        foreach ($serial in $Serials) { Get-Row -Config $config -Column 'SerialNumber' -Value $serial }
        foreach ($name in $Requesters) { Get-Row -Config $config -Column 'Request.RequesterName' -Value $name }
        if ($Revoked) { Get-Row -Config $config -Column 'Request.Disposition' -Value 21 }
    )
}
$Ansible.Result = $result
