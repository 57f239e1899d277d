# SPDX-License-Identifier: GPL-3.0-or-later
# One page of the certificates that the CA has issued and that are valid, by request number. Reads only, so it runs in check mode too.
[CmdletBinding(SupportsShouldProcess)]
param(
    # the last request of the page before
    [int]$After = 0,
    # how many at most
    [int]$Count = 500
)
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false

$Configuration = 'HKLM:\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration'
$Columns = @('RequestID', 'Request.RequesterName', 'CertificateTemplate', 'RawCertificate')

$result = @{ now = [datetime]::UtcNow.ToString('o'); running = $false; rows = @(); more = $false }
$active = if (Test-Path -LiteralPath $Configuration) { (Get-Item -LiteralPath $Configuration).GetValue('Active') }
$service = Get-Service -Name 'CertSvc' -ErrorAction SilentlyContinue
if ($active -and $service -and $service.Status -eq 'Running') {
    $result.running = $true
    $ca = Get-Item -LiteralPath "$Configuration\$active"
    $view = New-Object -ComObject 'CertificateAuthority.View'
    $view.OpenConnection("$($ca.GetValue('CAServerName'))\$($ca.GetValue('CommonName'))")
    $view.SetResultColumnCount($Columns.Count)
    foreach ($name in $Columns) {
        $view.SetResultColumn($view.GetColumnIndex($false, $name))
    }
    # CVR_SEEK_EQ = 1, CVR_SEEK_GE = 8, CVR_SEEK_GT = 16; CVR_SORT_NONE = 0, CVR_SORT_ASCEND = 1; DB_DISP_ISSUED = 20
    $view.SetRestriction($view.GetColumnIndex($false, 'RequestID'), 16, 1, $After)
    $view.SetRestriction($view.GetColumnIndex($false, 'Request.Disposition'), 1, 0, 20)
    $view.SetRestriction($view.GetColumnIndex($false, 'NotAfter'), 8, 0, [datetime]::UtcNow)
    $rows = $view.OpenView()
    $result.rows = @(for ($read = 0; $read -lt $Count -and $rows.Next() -ne -1; $read++) {
        $row = @{}
        $cells = $rows.EnumCertViewColumn()
        while ($cells.Next() -ne -1) {
            # CV_OUT_BASE64 = 1
            $row[$cells.GetName()] = $cells.GetValue(1)
        }
        $row
    })
    $result.more = $result.rows.Count -eq $Count
}
$Ansible.Result = $result
