"""The words of the pages: what codes and numbers are called in Chinese."""

from __future__ import annotations

from datetime import datetime

from serving.store.review_order import HIGH_RISK

DECISIONS = {"auto": "自动", "suggest": "待选", "review": "待审"}
REASONS = {
    "below_threshold": "把握不足",
    "heads_conflict": "类别与部门不相配",
    "out_of_scope": "不像投诉",
    "too_long": "过长，未读全",
    "not_chinese": "不是中文",
    "empty_after_cleaning": "没有内容",
}
# What the queue can be narrowed to beside those.
FILTERED = {HIGH_RISK: "风险高", **REASONS}
LEVELS = {"low": "低", "medium": "中", "high": "高"}
SEVERITIES = {"normal": "一般", "serious": "严重", "urgent": "紧急"}
DIMENSIONS = {"business": "业务", "financial": "财务", "reputation": "声誉", "compliance": "合规"}
ROLES = {"analyst": "分析员", "lead": "组长", "admin": "管理员"}
OUTCOMES = {"accepted": "确认", "corrected": "更正", "skipped": "跳过"}
ACTIONS = {
    "sign_in": "登录",
    "sign_in_refused": "登录被拒",
    "sign_out": "退出",
    "list": "列出待审",
    "claim": "领取案件",
    "view": "查看案件",
    "unmask": "显示号码",
    "accepted": "确认案件",
    "corrected": "更正案件",
    "skipped": "跳过案件",
    "undone": "撤销决定",
    "said": "更正一处",
    "withdrawn": "撤回更正",
    "judged": "确定风险",
    "export": "导出更正",
    "promote": "推广模型",
    "promote_forced": "未过关口仍推广",
    "rollback": "回退模型",
    "challenge": "影子运行",
    "add_user": "添加人员",
    "password": "修改密码",
    "password_refused": "修改密码被拒",
    "disable_user": "停用人员",
    "enable_user": "恢复人员",
    "change_role": "修改角色",
}
CHANNELS = {
    "app": "应用内",
    "app_review": "应用评价",
    "chat": "在线客服",
    "email": "邮件",
    "hotline": "热线",
    "letter": "来信",
    "media": "媒体",
    "phone": "电话",
    "agent_note": "坐席记录",
    "social": "社交平台",
    "store": "门店",
    "web_form": "网页表单",
    "weibo": "微博",
    "douyin": "抖音",
    "xiaohongshu": "小红书",
    "kuaishou": "快手",
    "bilibili": "哔哩哔哩",
    "zhihu": "知乎",
}


def channel(name: str | None) -> str:
    """What a channel is called; one that we do not know is shown as it was sent."""
    return CHANNELS.get(name, name) if name else "渠道不明"


def percent(share: float, digits: int = 0) -> str:
    """0.953 -> 95%; never rounded up to certainty."""
    shown = f"{share:.{digits}%}"
    if share < 1 and shown.startswith("100"):
        return ">" + f"{1 - 10 ** -(digits + 2):.{digits}%}"
    return shown


def clock(moment: datetime, now: datetime) -> str:
    """A time as people say it, in the time zone of `now`: 今天 14:05, 昨天 09:30, 3月5日 09:30, 2025年12月31日."""
    there, today = moment.astimezone(now.tzinfo), now
    days = (today.date() - there.date()).days
    if days in {-1, 0, 1}:
        return f"{('明天', '今天', '昨天')[days + 1]} {there:%H:%M}"
    if there.year == today.year:
        return f"{there.month}月{there.day}日 {there:%H:%M}"
    return f"{there.year}年{there.month}月{there.day}日"


def span(seconds: float) -> str:
    """How long something takes or has been: 40 秒, 12 分钟, 3 小时, 2 天."""
    for size, unit in ((86_400, "天"), (3_600, "小时"), (60, "分钟")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} 秒"


def due(moment: datetime, now: datetime) -> tuple[str, bool]:
    """How far off a deadline is, and whether it has passed: (还剩 3 小时, False), (已超 20 分钟, True)."""
    left = (moment - now).total_seconds()
    return (f"还剩 {span(left)}", False) if left >= 0 else (f"已超 {span(-left)}", True)
