// What the page says, in English and Chinese.

// What the server refuses, by its code; without one, its own words say what is wrong.
const chinese = {
  bug: "服务器内部出错。", invalid_api_key: "API 密钥缺失或不正确。", model_not_found: "没有这个模型。",
  no_index: "此服务器没有可搜索的索引。", no_item: "没有这张图片或这段声音。", queue_full: "等待的请求太多，请稍后再试。",
  timeout: "没有在规定的时间内得到回答。", too_large: "内容太大。", wrong_host: "此服务器不是这个主机。",
  wrong_task: "这个模型做不到。",
};

export const words = {
  en: {
    search: "Search", hear: "Transcribe", chat: "Chat", compare: "Compare", key: "API key", model: "Model",
    left: "Left", right: "Right", go: "Go", send: "Send", speak: "Speak", stop: "Stop", fresh: "Start over",
    nothing: "This server has no model that can be used here.",
    searchHint: "What do you look for?", chatHint: "Write something", compareHint: "A text or a question",
    dropBoth: "Drop a picture or a sound here, or choose a file", dropSound: "Drop a sound here, or choose a file",
    dropPicture: "Drop a picture here to ask about it", subtitles: "Subtitles (SRT)",
    working: "Working …", recording: "Listening … press Stop when you are done.", none: "Nothing found.",
    found: (count, ms) => `${count} found in ${ms} ms`, took: (ms) => `${ms} ms`,
    noMicrophone: "There is no microphone, or it may not be used.", lost: "The server does not answer.",
    answer: "Answer", time: "Time", size: "Model files", cosine: (value) => `cosine ${value}`,
    cannot: "This model cannot do that.", needText: "Write or choose something first.",
    needQuestion: "This model writes no captions: ask something about the picture.", broken: "Something went wrong.",
    handedOver: "I have found nothing that answers this, so I hand you over to a person.",
    refused: (code, message) => message,
  },
  zh: {
    search: "搜索", hear: "转写", chat: "对话", compare: "比较", key: "API 密钥", model: "模型",
    left: "左", right: "右", go: "开始", send: "发送", speak: "说话", stop: "停止", fresh: "重新开始",
    nothing: "此服务器没有可在这里使用的模型。",
    searchHint: "您要找什么？", chatHint: "写点什么", compareHint: "一段文字或一个问题",
    dropBoth: "把图片或声音拖到这里，或选择文件", dropSound: "把声音拖到这里，或选择文件",
    dropPicture: "把图片拖到这里来提问", subtitles: "字幕 (SRT)",
    working: "处理中 …", recording: "正在听 … 说完请按停止。", none: "没有找到。",
    found: (count, ms) => `找到 ${count} 项，用时 ${ms} 毫秒`, took: (ms) => `${ms} 毫秒`,
    noMicrophone: "没有麦克风，或不允许使用。", lost: "服务器没有回答。",
    answer: "回答", time: "时间", size: "模型文件", cosine: (value) => `余弦 ${value}`,
    cannot: "这个模型做不到。", needText: "请先写点什么或选择文件。",
    needQuestion: "这个模型不写图片说明：请就图片提一个问题。", broken: "出了点问题。",
    handedOver: "我没有找到能回答这个问题的内容，现在为您转接人工。",
    refused: (code, message) => chinese[code] || `无法处理：${message}`,
  },
};
